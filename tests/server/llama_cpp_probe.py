"""What llama.cpp makes of a GGUF file; run by a Python that has llama_cpp and nothing of ours.

Reads {"gguf", "texts", "ids"} from stdin; writes the token ids of each text, and the logits after
each of `ids`, computed with 32 bits throughout.
"""

import ctypes
import json
import sys

import llama_cpp as ll  # type: ignore[import-not-found, unused-ignore]
import numpy as np


def main() -> None:
    """Read, load, tokenise, run once."""
    asked = json.load(sys.stdin)
    silent = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(silent, ctypes.c_void_p(0))
    llama = ll.Llama(
        asked["gguf"],
        n_ctx=128,
        n_threads=1,
        logits_all=True,
        type_k=0,  # GGML_TYPE_F32
        type_v=0,
        verbose=False,
    )
    tokens = [llama.tokenize(text.encode(), add_bos=True, special=True) for text in asked["texts"]]
    llama.eval(asked["ids"])
    logits = np.asarray(llama.scores[: len(asked["ids"])]).tolist()
    json.dump({"tokens": tokens, "logits": logits}, sys.stdout)


if __name__ == "__main__":
    main()
