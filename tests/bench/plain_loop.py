"""The loop everybody writes first: Trainer + PEFT, padded to the longest, float32, all logits."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from clients.learning.batching import EncodedRecord
from fl.adapter import Adapter, AdapterSpec

IGNORED = -100  # a label the loss leaves out


@dataclass(frozen=True, kw_only=True)
class PlainResult:
    """What the plain loop did; `tokens` are those of prompts and completions without padding."""

    adapter: Adapter
    tokens: int
    steps: int
    padding_share: float
    seconds: float


class PlainLoop:
    """A second copy of the base with PEFT's own forward, trained by transformers' Trainer."""

    def __init__(self, folder: Path, spec: AdapterSpec) -> None:
        self._spec = spec
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,
            target_modules=list(spec.target_modules),
            fan_in_fan_out=spec.fan_in_fan_out,
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )
        self._network: Any = get_peft_model(network, config)
        self._parameters = {
            name.replace(".default.", "."): parameter
            for name, parameter in self._network.named_parameters()
            if parameter.requires_grad
        }

    def train(
        self,
        start: Adapter,
        records: Sequence[EncodedRecord],
        *,
        batch: int,
        tokens: int,
        learning_rate: float,
        clip_norm: float,
        warm_up: int,
        seed: int,
        folder: Path,
    ) -> PlainResult:
        """Train from `start` until `tokens` tokens without padding have been seen."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(start.tensors[name].copy()))
        counted = _Counted(limit=tokens)
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch,
            num_train_epochs=1000,
            max_grad_norm=clip_norm,
            seed=seed,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        # Trainer's own warm-up begins with a step of rate 0; ours does not, so both get ours.
        optimiser = torch.optim.AdamW(
            self._parameters.values(), lr=learning_rate, weight_decay=0.0, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min(1.0, (step + 1) / warm_up)
        )
        trainer = Trainer(
            model=self._network,
            args=arguments,
            optimizers=(optimiser, schedule),
            train_dataset=_Records(records),
            data_collator=counted.collate,
            callbacks=[counted],
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        tensors = {n: p.detach().numpy().copy() for n, p in self._parameters.items()}
        return PlainResult(
            adapter=Adapter(spec=self._spec, tensors=tensors),
            tokens=counted.tokens,
            steps=trainer.state.global_step,
            padding_share=1.0 - counted.tokens / counted.computed,
            seconds=seconds,
        )


class _Records(Dataset[EncodedRecord]):
    def __init__(self, records: Sequence[EncodedRecord]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> EncodedRecord:
        return self._records[index]


class _Counted(TrainerCallback):  # type: ignore[misc]
    """Pads to the longest record of a batch, counts tokens, and stops after the limit."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self.tokens = 0
        self.computed = 0
        self._waiting: list[tuple[int, int]] = []

    def collate(self, records: Sequence[EncodedRecord]) -> dict[str, torch.Tensor]:
        longest = max(len(record.ids) for record in records)
        ids = torch.zeros(len(records), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, IGNORED)
        for row, record in enumerate(records):
            length, start = len(record.ids), record.completion_start
            ids[row, :length] = torch.tensor(record.ids)
            mask[row, :length] = 1
            labels[row, start:length] = ids[row, start:length]
        # The loader collates one batch ahead of the one that is trained on.
        self._waiting.append((int(mask.sum()), ids.numel()))
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        tokens, computed = self._waiting.pop(0)
        self.tokens += tokens
        self.computed += computed
        control.should_training_stop = self.tokens >= self._limit
        return control
