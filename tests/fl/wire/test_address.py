import pytest

from fl.errors import SettingsError
from fl.wire.address import join_address, require_loopback


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:50071", "127.0.0.1", 50071),
        ("127.8.9.1:0", "127.8.9.1", 0),
        ("localhost:1", "localhost", 1),
        ("[::1]:2", "::1", 2),
    ],
)
def test_loopback_addresses(address: str, host: str, port: int) -> None:
    assert require_loopback(address) == (host, port)
    assert join_address(host, port) == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "192.168.1.4:1", "example.org:1", "127.0.0.1.example.org:1"]
)
def test_other_machines_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="not on this machine"):
        require_loopback(address)


@pytest.mark.parametrize("address", ["", ":1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "h:x"])
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        require_loopback(address)
