from pathlib import Path

import pytest

from fl.errors import SettingsError
from fl.wire.address import (
    credentials_to_dial,
    credentials_to_listen,
    is_wildcard,
    join_address,
    require_loopback,
)
from server.keys import make_cloud_keys, make_site_keys

LOOPBACK = ["127.0.0.1:50071", "127.8.9.1:0", "localhost:1", "[::1]:2"]
ELSEWHERE = ["0.0.0.0:1", "[::]:1", "192.168.1.4:1", "example.org:1", "127.0.0.1.example.org:1"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make_cloud_keys(folder)
    make_site_keys(folder, "oslo")
    return folder


@pytest.mark.parametrize(
    ("address", "host", "port"),
    list(
        zip(LOOPBACK, ["127.0.0.1", "127.8.9.1", "localhost", "::1"], [50071, 0, 1, 2], strict=True)
    ),
)
def test_loopback_addresses(address: str, host: str, port: int) -> None:
    assert require_loopback(address) == (host, port)
    assert join_address(host, port) == address
    assert not is_wildcard(host)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_other_machines_are_refused_without_keys(address: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not on this machine"):
        require_loopback(address)
    with pytest.raises(SettingsError, match=r"site\.cloud .* not on this machine"):
        credentials_to_dial(address, None, setting="site.cloud")
    with pytest.raises(SettingsError, match=r"ca\.crt cannot be read"):
        credentials_to_dial(address, tmp_path)
    with pytest.raises(SettingsError, match=r"service\.address .* needs keys: .*ca\.crt"):
        credentials_to_listen(address, tmp_path)


def test_the_rule_plain_here_and_keys_elsewhere(keys: Path, tmp_path: Path) -> None:
    bundle = keys / "sites" / "oslo"
    for address in LOOPBACK:  # where keys are not even looked for
        assert credentials_to_listen(address, tmp_path) is None
        assert credentials_to_dial(address, None) is None
        assert credentials_to_dial(address, tmp_path) is None
    for address in ELSEWHERE:
        assert credentials_to_listen(address, keys) is not None
        assert credentials_to_dial(address, bundle) is not None


@pytest.mark.parametrize("address", ["", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "h:x"])
def test_malformed_addresses_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        require_loopback(address)
    with pytest.raises(SettingsError, match=r"site\.cloud is host:port"):
        credentials_to_dial(address, tmp_path, setting="site.cloud")
    with pytest.raises(SettingsError, match="host:port"):
        credentials_to_listen(address, tmp_path)
