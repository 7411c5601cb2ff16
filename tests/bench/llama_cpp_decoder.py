"""Continuous batching by llama.cpp, run by a Python that has llama_cpp and nothing of ours.

    python -I tests/bench/llama_cpp_decoder.py < {"gguf", "threads", "requests", "exact"}

Writes the tokens and times of its requests to stdout. As in llama.cpp's own server a step decodes
one token of every running sequence and, in the same batch, the prompts of those that join; a free
slot takes the next request that has arrived. The best token is taken from the logits with numpy.
"""

import ctypes
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as ll  # type: ignore[import-not-found, unused-ignore]
import numpy as np

SLOTS = 16  # sequences that are decoded together
BATCH = 512  # tokens of one step


@dataclass(kw_only=True)
class Decoded:
    """One request and what was written for it."""

    prompt: list[int]
    new_tokens: int
    arrives_s: float
    read: int = 0  # prompt tokens the model was given so far
    written: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of each token, seconds after the start

    def next_ids(self, room: int) -> tuple[int, list[int]]:
        """Where the next step begins in its text, and the tokens of it, at most `room`."""
        if self.written:
            return len(self.prompt) + len(self.written) - 1, self.written[-1:]
        return self.read, self.prompt[self.read : self.read + room]


class Step:
    """llama.cpp's batch, filled anew for every step; its arrays are numpy's."""

    def __init__(self) -> None:
        self.batch: Any = ll.llama_batch_init(BATCH, 0, 1)
        as_array = np.ctypeslib.as_array
        self._ids = as_array(self.batch.token, (BATCH,))
        self._positions = as_array(self.batch.pos, (BATCH,))
        self._wants_logits = as_array(self.batch.logits, (BATCH,))
        self._slots = np.zeros(BATCH, dtype=np.int32)  # one sequence a token
        for i in range(BATCH):
            self.batch.n_seq_id[i] = 1
            one = self._slots[i:].ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            self.batch.seq_id[i] = one

    def clear(self) -> None:
        """Forget the last step."""
        self.batch.n_tokens = 0

    def add(self, slot: int, position: int, ids: list[int], *, logits: bool) -> int:
        """Add tokens of one sequence; where their last logits will come."""
        start = int(self.batch.n_tokens)
        end = start + len(ids)
        self._ids[start:end] = ids
        self._positions[start:end] = range(position, position + len(ids))
        self._slots[start:end] = slot
        self._wants_logits[start:end] = 0
        self._wants_logits[end - 1] = logits
        self.batch.n_tokens = end
        return end - 1


def decode(context: Any, vocabulary: int, requests: list[Decoded]) -> None:
    """Decode everything, greedily, whatever end mark comes."""
    memory, step = ll.llama_get_memory(context), Step()
    step.add(0, 0, [0], logits=True)  # once before the clock runs: memory is mapped, threads start
    _decode(context, step)
    ll.llama_memory_clear(memory, True)
    waiting = deque(sorted(requests, key=lambda r: r.arrives_s))
    running: dict[int, Decoded] = {}
    start = time.perf_counter()
    while waiting or running:
        # 1. Who has arrived takes a free slot.
        now = time.perf_counter() - start
        free = [slot for slot in range(SLOTS) if slot not in running]
        while free and waiting and waiting[0].arrives_s <= now:
            running[free.pop(0)] = waiting.popleft()
        if not running:
            time.sleep(waiting[0].arrives_s - now)
            continue
        # 2. One token of those that write, then prompts as far as there is room.
        step.clear()
        outcomes = {}
        for slot, request in sorted(running.items(), key=lambda pair: not pair[1].written):
            position, ids = request.next_ids(BATCH - step.batch.n_tokens)
            if ids:
                request.read += 0 if request.written else len(ids)
                complete = request.read == len(request.prompt)
                at = step.add(slot, position, ids, logits=complete)
                if complete:
                    outcomes[slot] = at
        _decode(context, step)
        # 3. The best token of each; who is complete leaves its slot.
        chosen = {slot: _best(context, at, vocabulary) for slot, at in outcomes.items()}
        now = time.perf_counter() - start
        for slot, token in chosen.items():
            running[slot].written.append(token)
            running[slot].times.append(now)
            if len(running[slot].written) == running[slot].new_tokens:
                del running[slot]
                ll.llama_memory_seq_rm(memory, slot, -1, -1)


def _decode(context: Any, step: Step) -> None:
    if (code := ll.llama_decode(context, step.batch)) != 0:
        raise SystemExit(f"llama_decode gave {code}")


def _best(context: Any, at: int, vocabulary: int) -> int:
    logits_V = np.ctypeslib.as_array(ll.llama_get_logits_ith(context, at), (vocabulary,))
    return int(logits_V.argmax())


def context_parameters(requests: list[Decoded], *, threads: int, exact: bool) -> Any:
    """One cache for all sequences and flash attention: the fastest here for the larger model.

    `exact` keeps the cache in 32 bits instead of 16 and computes attention in full.
    """
    longest = max(len(r.prompt) + r.new_tokens for r in requests)
    parameters = ll.llama_context_default_params()
    parameters.n_ctx = SLOTS * 32 * -(-longest // 32)  # room for the longest in every slot
    parameters.n_seq_max = SLOTS
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.kv_unified = True
    parameters.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_ENABLED
    if exact:
        parameters.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.type_k = parameters.type_v = 0  # GGML_TYPE_F32
    return parameters


def main() -> None:
    """Read what is asked, decode it, write what came of it."""
    asked = json.load(sys.stdin)
    requests = [Decoded(**request) for request in asked["requests"]]
    silent = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(silent, ctypes.c_void_p(0))
    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(asked["gguf"].encode(), ll.llama_model_default_params())
    context = ll.llama_init_from_model(
        model, context_parameters(requests, threads=asked["threads"], exact=asked["exact"])
    )
    decode(context, ll.llama_n_vocab(ll.llama_model_get_vocab(model)), requests)
    answers = [{"ids": request.written, "times": request.times} for request in requests]
    json.dump({"version": ll.__version__, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
