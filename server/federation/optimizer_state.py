"""The server optimiser's memory on disk, one file a release, beside the releases.

    optimizer/state-3.safetensors    as it was when release 3 had been made

The state of a release is saved before the release is published. So whoever finds a release finds
its state; a kill between the two leaves a state without a release, which the repeated round
overwrites. The last two are kept, because that round starts from the one before, and whatever the
caller names: after a refused candidate a round starts from the current release again.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from fl import durable
from fl.errors import FederationError

State = Mapping[str, npt.NDArray[np.float64]]

_PREFIX, _SUFFIX = "state-", ".safetensors"
_CHECK = "netgpt"  # metadata: release number and sha256, as JSON


def save(folder: Path, state: State, *, release_number: int, keep: Collection[int] = ()) -> None:
    """Keep the state that made a release; an empty one needs no file. Raises FederationError.

    The states of the releases in `keep` stay, for instance of the current one.
    """
    if not state:
        return
    file = _file(folder, release_number)
    aside = file.with_name(f".{file.name}")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in sorted(state.items())}
    data = to_safetensors(tensors, metadata={_CHECK: _check(tensors, release_number)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        durable.write(aside, data)
        aside.replace(file)
        durable.sync_folder(folder)
        for number in _numbers(folder):
            if number not in keep and number not in _last_two(folder, release_number):
                _file(folder, number).unlink()
    except OSError as error:
        raise FederationError(
            f"The server optimiser's state could not be saved in {folder} ({error.strerror})."
        ) from error


def load(folder: Path, *, release_number: int) -> dict[str, npt.NDArray[np.float64]] | None:
    """The state a release was made with, exactly; None where there is none.

    Raises FederationError for a damaged file.
    """
    file = _file(folder, release_number)
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as opened:
            found = (opened.metadata() or {}).get(_CHECK)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        found, tensors = f"{error}", {}
    if found != _check(tensors, release_number):
        raise FederationError(
            f"{file} is damaged. Remove it to go on with a fresh state of the server optimiser."
        )
    return tensors


def _check(state: State, release_number: int) -> str:
    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(f"{name}{state[name].shape}{state[name].dtype}".encode())
        sha.update(state[name].tobytes())
    return json.dumps({"release": release_number, "sha256": sha.hexdigest()}, sort_keys=True)


def _file(folder: Path, release_number: int) -> Path:
    return folder / f"{_PREFIX}{release_number}{_SUFFIX}"


def _numbers(folder: Path) -> list[int]:
    names = [file.name for file in folder.glob(f"{_PREFIX}*{_SUFFIX}")]
    found = [name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names]
    return sorted(int(number) for number in found if number.isdecimal())


def _last_two(folder: Path, release_number: int) -> list[int]:
    """This release's state and the one before; what is above was made before a release was lost."""
    return [number for number in _numbers(folder) if number <= release_number][-2:]
