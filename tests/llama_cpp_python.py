"""Which Python can run llama.cpp: NETGPT_LLAMA_PYTHON, or this one where llama_cpp is installed."""

import os
import subprocess
import sys
from functools import cache

MISSING = (
    "no Python with llama_cpp: build llama-cpp-python[server] (about 7 minutes) into this "
    "environment, or into another and name its python in NETGPT_LLAMA_PYTHON"
)


@cache
def llama_python(module: str = "llama_cpp") -> str | None:
    """Path of a Python that imports `module` of llama_cpp, or None."""
    python = os.environ.get("NETGPT_LLAMA_PYTHON") or sys.executable
    try:
        tried = subprocess.run([python, "-I", "-c", f"import {module}"], capture_output=True)
    except OSError:
        return None
    return python if tried.returncode == 0 else None
