"""Memory of one base with an adapter a task, against a whole model a task.

Each way is a process of its own that loads what it needs and reads one prompt a task. Counted are
the bytes of what lies in memory by name (weights and adapters), and how much the process has grown:
the libraries are the same in both and are loaded before.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from clients.edge_model import EdgeModel, edge_model, site_spec
from fl.adapter import AdapterSpec, initial_adapter
from fl.base_model import BaseModel, base_folder, read_base
from fl.process_group import resident_bytes
from fl.prompt_format import task_prompt
from fl.settings import Settings, with_task
from fl.tasks import TASKS

ONE, EACH = "one base, 3 adapters", "3 models"
WAYS = (ONE, EACH)
GPT2_SHAPE = "GPT-2 base shape"  # 12 x 768, vocabulary 50,257; weights drawn at random


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a process with all tasks takes."""

    model: str  # which base
    way: str
    weights: int  # bytes of all weights of all its models
    adapters: int  # bytes of all its adapters
    grown: int  # bytes resident now, less those before the first model was loaded


def task_memory(settings: Settings, *, gpt2_shape: bool) -> list[Memory]:
    """Both ways with the settings' base, and with GPT-2 base's shape where that is asked for."""
    found = _both(settings, settings, "this base")
    if gpt2_shape:
        with TemporaryDirectory(prefix="netgpt-shape-") as folder:
            write_gpt2_shape(Path(folder), base_folder(settings, "edge"))
            large = replace(settings, edge=replace(settings.edge, model=folder))
            found += _both(settings, large, GPT2_SHAPE)
    return found


def _both(small: Settings, settings: Settings, name: str) -> list[Memory]:
    found = []
    for way in WAYS:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            found.append(pool.submit(_take, small, settings, name, way).result())
    return found


def _take(small: Settings, settings: Settings, name: str, way: str) -> Memory:
    """In the process."""
    edge_model(small)  # the libraries, and what torch keeps from its first product on
    base = read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    specs = adapter_specs(settings, base)
    before = resident_bytes()
    count = 1 if way == ONE else len(TASKS)
    models = [EdgeModel(base, site_spec(settings, base)) for _ in range(count)]
    adapters = [initial_adapter(spec, base.layers, seed=i) for i, spec in enumerate(specs.values())]
    for i, task in enumerate(TASKS):
        writer = models[i % len(models)].writer
        line = writer.line(task_prompt(task, "", "ready"), adapters[i], max_new_tokens=1)
        writer.write([line])
    return Memory(
        model=name,
        way=way,
        weights=sum(model.weight_bytes for model in models),
        adapters=sum(t.nbytes for adapter in adapters for t in adapter.tensors.values()),
        grown=resident_bytes() - before,
    )


def adapter_specs(settings: Settings, base: BaseModel) -> dict[str, AdapterSpec]:
    """What a site serves each task with: the task's shared and personal part as one."""
    specs = {}
    for task in TASKS:
        own = with_task(settings, task)
        spec = site_spec(own, base)
        rank = spec.rank + (own.learning.personal_rank if own.personal != "none" else 0)
        specs[task] = replace(spec, rank=rank, alpha=spec.scale * rank)
    return specs


def write_gpt2_shape(folder: Path, like: Path) -> None:
    """A model of GPT-2 base's shape with random weights, and the tokenizer of another."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(like, local_files_only=True)
    GPT2LMHeadModel(GPT2Config(eos_token_id=tokenizer.eos_token_id)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
