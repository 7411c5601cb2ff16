"""Which keys there are, and which of those somebody gave there are not."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import get_type_hints

from omegaconf import DictConfig

_NOT_SAID = "told"  # worked out, not set


def unknown_keys(
    kind: type, chosen: DictConfig, overrides: Sequence[str], source: str
) -> list[str]:
    """A sentence for each unknown key of a file, called `source`, and of key=value overrides."""
    known = set(_dotted(kind)) - {_NOT_SAID}
    found = [_unknown(key, known, source) for key in _keys(chosen) if key not in known]
    said = [override.partition("=")[0] for override in overrides]
    return found + [_unknown(key, known, "the command line") for key in said if key not in known]


def _dotted(kind: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = prefix + field.name
        yield name
        if is_dataclass(inner := hints[field.name]) and isinstance(inner, type):
            yield from _dotted(inner, name + ".")


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        name = prefix + str(key)
        yield name
        if isinstance(node[key], DictConfig):
            yield from _keys(node[key], name + ".")


def _unknown(key: str, known: set[str], where: str) -> str:
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in sorted(known)}
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    if not near:
        last = difflib.get_close_matches(key.rsplit(".", 1)[-1], by_last_part, n=1, cutoff=0.5)
        near = [by_last_part[name] for name in last]
    hint = f" Did you mean {near[0]}?" if near else " configs/base.yaml lists every setting."
    return f"Unknown setting {key!r} in {where}.{hint}"
