"""What this machine's processor can do, read without torch."""

from functools import lru_cache
from pathlib import Path

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AMX or AVX512-BF16)."""
    return bool(BFLOAT16_FLAGS & _flags())


def sums_int8_exactly() -> bool:
    """True where products of 8-bit numbers are summed in 32 bits at once (VNNI).

    Older ones sum pairs in 16 bits, which overflow.
    """
    return bool(VNNI_FLAGS & _flags())


@lru_cache(maxsize=1)
def _flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    return frozenset(word for line in text.splitlines() if "flags" in line for word in line.split())
