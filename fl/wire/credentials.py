"""Mutual TLS of our gRPC services: who may dial is who holds a key that our authority vouched for.

Only files are read here; the cloud's verb `keys` makes them.
"""

from pathlib import Path

import grpc

from fl.errors import SettingsError

CA_CRT = "ca.crt"
SERVER_CRT, SERVER_KEY = "server.crt", "server.key"  # in the cloud's folder of keys
SITE_CRT, SITE_KEY = "site.crt", "site.key"  # in a site's bundle


def server_credentials(keys_dir: Path) -> grpc.ServerCredentials:
    """The cloud's side: a caller without a certificate of our authority gets no connection.

    Raises SettingsError where a file is missing.
    """
    ca, certificate, key = _read(keys_dir, CA_CRT, SERVER_CRT, SERVER_KEY)
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)


def channel_credentials(bundle: Path) -> grpc.ChannelCredentials:
    """A site's side: it trusts our authority only. Raises SettingsError where a file is missing."""
    ca, certificate, key = _read(bundle, CA_CRT, SITE_CRT, SITE_KEY)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _read(folder: Path, *names: str) -> list[bytes]:
    try:
        return [(folder / name).read_bytes() for name in names]
    except OSError as error:
        raise SettingsError(
            f"{error.filename} cannot be read ({error.strerror}). The cloud makes keys with "
            "./run.sh keys SITE; a site's host gets the whole folder keys/sites/SITE."
        ) from None
