"""Publishing in tests: small releases, and what a folder of releases says when it is looked at."""

from pathlib import Path

from fl.release import AdapterRelease
from server.release_aliases import ALIASES
from server.releases import Releases
from tests.fl.adapters import drawn
from tests.fl.releases import KEY


def opened(folder: Path) -> Releases:
    """The releases in a folder, as a fresh process would open them."""
    return Releases(folder, federation="001", key=KEY)


def publish(releases: Releases, seed: int) -> AdapterRelease:
    """The next release: `drawn(seed)`, from round `seed`."""
    return releases.publish(
        drawn(seed),
        round_number=seed,
        method="fedavg" if seed else "initial",
        parent_digest="abc" if seed else "",
        metrics={"mean_heldout_loss": 2.0 - seed / 8} if seed else {},
    )


def with_promoted(folder: Path, count: int) -> Releases:
    """Releases 0 ... count - 1, each of which became current."""
    releases = opened(folder)
    for seed in range(count):
        made = publish(releases, seed)
        if made.number:
            releases.promote(made.number, why="better")
    return releases


def named(releases: Releases) -> tuple[int | None, int | None, int | None]:
    """What current, previous and candidate name."""
    current, previous, candidate = (releases.aliases.read(alias) for alias in ALIASES)
    return current, previous, candidate


def visible(folder: Path) -> set[str]:
    """What lies in the folder, but for the locks, which are empty or hold a pid."""
    return {entry.name for entry in folder.iterdir()} - {".lock", ".aliases.lock"}


def flip_a_bit(folder: Path, file: str = "adapter_model.safetensors") -> None:
    """Damage a release."""
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
