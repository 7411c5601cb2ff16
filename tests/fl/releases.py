"""Signed releases for tests, and the keys they are signed with."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl.release import AdapterRelease
from fl.release_file import sign_release
from tests.fl.adapters import drawn

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
CLOUD_KEY, OTHER_CLOUD_KEY = KEY.public_key(), OTHER_KEY.public_key()


def signed(
    seed: int, *, number: int = 1, federation: str = "001", key: Ed25519PrivateKey = KEY
) -> AdapterRelease:
    """A release of `drawn(seed)`."""
    return sign_release(
        drawn(seed),
        federation=federation,
        number=number,
        parent_digest="abc",
        method="fedavg",
        round_number=number,
        metrics={"mean_heldout_loss": 2.0, "sites": 8},
        key=key,
    )
