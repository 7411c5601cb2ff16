"""What this machine's processor can do, read without torch."""

from functools import lru_cache
from pathlib import Path

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(BFLOAT16_FLAGS & set(line.split()) for line in text.splitlines() if "flags" in line)
