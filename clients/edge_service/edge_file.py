"""edge.json: where a site's edge service listens, and the token that it wants to see.

Only the owner may read the file. The service makes it when it is ready and removes it at its end;
after a crash it names a service that is gone.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clients.atomic import publish_text
from fl.settings import Settings
from fl.site_list import site_folder

EDGE_FILE = "edge.json"  # in the site's folder
EDGE_KEY = "edge"  # of a SuperNode's node config: the file's path

LARGEST_MESSAGE = 1 << 30  # bytes, of learning's messages between courier and service
CHANNEL_OPTIONS = [
    ("grpc.enable_http_proxy", 0),  # the way to this machine needs no proxy
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
]


@dataclass(frozen=True, kw_only=True)
class EdgeFile:
    """What edge.json says."""

    address: str  # loopback host:port
    token: str = field(repr=False)
    pid: int
    http: str = ""  # where its OpenAI-compatible API is, with /v1; "" for none

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call must carry."""
        return (("authorization", f"Bearer {self.token}"),)


def edge_file(settings: Settings, site_id: str) -> Path:
    """Where a site's edge.json lies."""
    return site_folder(settings, site_id) / EDGE_FILE


def read_edge_file(file: Path) -> EdgeFile | None:
    """The running service, or one that has crashed; None where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return EdgeFile(
            address=str(found["address"]),
            token=str(found["token"]),
            pid=int(found["pid"]),
            http=str(found.get("http", "")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish_edge_file(file: Path, address: str, token: str, http: str = "") -> None:
    """Say that this process serves at `address`, and at the URL `http`."""
    body = EdgeFile(address=address, token=token, pid=os.getpid(), http=http)
    publish_text(file, json.dumps(asdict(body)) + "\n")


def withdraw_edge_file(file: Path, token: str) -> None:
    """Remove the file, unless another service has written its own since."""
    found = read_edge_file(file)
    if found is not None and found.token == token:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
