"""llama.cpp on the same weights and requests: the reference for decoding on CPUs.

It runs through its low-level Python binding in a process of its own (llama_cpp_decoder.py), as many
sequences together as the engines here have rows, without HTTP and without detokenising: all it
does is decode.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.requests import BenchRequest, RequestTimes
from tests.llama_cpp_python import llama_python

DECODER = Path(__file__).with_name("llama_cpp_decoder.py")
LONGEST_S = 900


def run_llama_cpp(
    folder: Path, requests: Sequence[BenchRequest], *, outtype: str, threads: int
) -> list[RequestTimes] | None:
    """Export the model of `folder` as f32 or q8_0 and decode; None where llama_cpp is absent.

    The clock starts when the model is loaded and warm. The folder needs a tokenizer, which is only
    copied: prompts come as token ids.
    """
    answers = decode(folder, requests, outtype=outtype, threads=threads, exact=False)
    if answers is None:
        return None
    return [
        RequestTimes(first_s=a["times"][0], done_s=a["times"][-1], tokens=len(a["times"]))
        for a in answers
    ]


def decode(
    folder: Path, requests: Sequence[BenchRequest], *, outtype: str, threads: int, exact: bool
) -> list[dict[str, Any]] | None:
    """The ids and times of every answer; `exact` computes with 32 bits throughout, more slowly."""
    python = llama_python()
    if python is None:
        return None
    from server.gguf_export import export_gguf  # imports torch and gguf

    with tempfile.TemporaryDirectory() as temporary:
        gguf = Path(temporary) / "model.gguf"
        export_gguf(folder, gguf, outtype=outtype)
        asked = {
            "gguf": str(gguf),
            "threads": threads,
            "exact": exact,
            "requests": [
                {"prompt": r.prompt_ids, "new_tokens": r.new_tokens, "arrives_s": r.arrives_s}
                for r in requests
            ],
        }
        done = subprocess.run(
            [python, "-I", str(DECODER)],  # -I: our llama_cpp.py beside it is not the package
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"llama.cpp failed ({done.returncode}): {done.stderr[-2000:]}")
    answers: list[dict[str, Any]] = json.loads(done.stdout)["answers"]
    return answers
