"""Which aggregation method goes with what, and why not, said before the first round."""

import difflib
from collections.abc import Mapping

from fl.adapter import AdapterSpec
from fl.errors import SettingsError

# method -> what it cannot be combined with -> the reason
_REFUSED: Mapping[str, Mapping[str, str]] = {
    "fedavg": {
        "mixed ranks": "it averages the factors A and B entry by entry, and entries of factors of "
        "different rank or scale do not correspond. Give all sites one learning.rank and alpha",
    },
}


def check_method(method: str) -> None:
    """Raise SettingsError for a method that does not exist, with the nearest one that does."""
    if method not in _REFUSED:
        near = difflib.get_close_matches(method, _REFUSED, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There is: {', '.join(_REFUSED)}."
        raise SettingsError(f"method={method!r} is no aggregation method.{hint}")


def check_specs(method: str, specs: Mapping[str, AdapterSpec]) -> None:
    """Raise SettingsError when sites (id -> spec) with these adapters cannot use this method."""
    check_method(method)
    sizes = {(spec.rank, spec.scale) for spec in specs.values()}
    if len(sizes) > 1 and "mixed ranks" in _REFUSED[method]:
        found = ", ".join(f"{site}: rank {spec.rank}" for site, spec in sorted(specs.items()))
        raise SettingsError(
            f"method={method} cannot combine mixed ranks ({found}): "
            f"{_REFUSED[method]['mixed ranks']}."
        )
