"""Where the releases of the cloud's own adapter lie; signed, aliased and rolled back as all are.

    var/NAME-SEED/cloud/releases/      a folder of releases of the federation "cloud"
    var/NAME-SEED/cloud/verdicts.jsonl what the gate decided about each

Release 0 changes nothing: it is the base model as it is, so that there is one to roll back to.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl.base_model import base_folder, fingerprint
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from fl.settings import Settings
from fl.signing import cloud_key
from server.releases import Releases

FEDERATION = "cloud"  # as it stands in manifests and behind --federation


def releases_folder(settings: Settings) -> Path:
    """The folder of the cloud's own releases; it need not exist yet."""
    return settings.run_dir / FEDERATION / "releases"


def cloud_releases(settings: Settings, key: Ed25519PrivateKey | None = None) -> Releases:
    """The cloud's own releases: to publish with `key`, else to read with its public half.

    Raises ReleaseError where there is no key to read with.
    """
    folder = releases_folder(settings)
    if key is not None:
        return Releases(folder, federation=FEDERATION, key=key)
    return Releases(folder, federation=FEDERATION, cloud_key=cloud_key(settings))


def current_number(settings: Settings) -> int | None:
    """What `current` names, unverified, without a key; None before the first tuning.

    Raises ReleaseError where the alias cannot be read or holds no number.
    """
    return Releases(releases_folder(settings), federation=FEDERATION).current_number()


def check_base(settings: Settings, release: AdapterRelease) -> None:
    """Raise ReleaseError unless the release was made for the configured cloud model.

    Raises BaseModelError where there is no such model.
    """
    folder = base_folder(settings, "cloud")
    made_for, found = release.shared.spec.base_model_fingerprint, fingerprint(folder)
    if made_for != found:
        raise ReleaseError(
            f"Release {release.number} of the cloud's adapter was made for the base model "
            f"{made_for[:12]}...; {folder} has the fingerprint {found[:12]}.... "
            "./run.sh tune-cloud makes one for it."
        )
