"""Who may call a service that leaves the machine: sites with our certificate, in their own name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from clients.release_channel import ReleaseChannel
from fl.errors import GenerationError, SettingsError
from fl.openai_api.api_keys import ApiKeys
from fl.settings import Settings, load
from fl.wire.credentials import channel_credentials, server_credentials
from fl.wire.netgpt.v1 import generation_pb2, generation_pb2_grpc, releases_pb2, releases_pb2_grpc
from server.keys import make_cloud_keys, make_site_keys
from server.release_service import ReleaseService
from server.service import GenerationService
from server.service_errors import StatusInterceptor, check_caller
from server.service_start import bind


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of our cloud in `ours`, of another one in `theirs`; both know an oslo."""
    folder = tmp_path_factory.mktemp("pki")
    for cloud in ("ours", "theirs"):
        make_cloud_keys(folder / cloud, hosts=_own_addresses())
        make_site_keys(folder / cloud, "oslo")
    make_site_keys(folder / "ours", "bergen")
    return folder


def _own_addresses() -> list[str]:
    """IPv4 addresses of this machine other than loopback."""
    found = [a for addresses in psutil.net_if_addrs().values() for a in addresses]
    return [a.address for a in found if a.family == 2 and not a.address.startswith("127.")][:1]


@pytest.fixture
def settings(tmp_path: Path, pki: Path) -> Settings:
    return load(
        [f"var={tmp_path}", f"keys={pki}/ours", "service.address=0.0.0.0:0", "service.http=none"]
    )


def services(settings: Settings) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[StatusInterceptor(ApiKeys({}))])
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(ReleaseService(settings), server)
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(GenerationService(), server)
    return server


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[str]:
    """Mutual TLS on loopback, where the rule would not ask for it."""
    server = services(settings)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(settings.keys_dir))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def statuses(settings: Settings, credentials: grpc.ChannelCredentials | None) -> tuple[str, str]:
    """What oslo's GetRelease and Generate end with for a caller with these credentials."""

    async def call() -> tuple[str, str]:
        async with listening(settings) as address:
            channel = (
                grpc.aio.insecure_channel(address)
                if credentials is None
                else grpc.aio.secure_channel(address, credentials)
            )
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as one:
                    await releases_pb2_grpc.ReleaseServiceStub(channel).GetRelease(
                        releases_pb2.GetReleaseRequest(site_id="oslo"), timeout=30
                    )
                request = generation_pb2.GenerateRequest(
                    request_id="r", site_id="oslo", prompt="p", max_new_tokens=1
                )
                stub = generation_pb2_grpc.GenerationServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as other:
                    [message async for message in stub.Generate(request, timeout=30)]
        return one.value.code().name, other.value.code().name

    return asyncio.run(call())


def test_only_the_site_itself_is_let_in(settings: Settings, pki: Path) -> None:
    sites = pki / "ours" / "sites"
    # Oslo gets through to the services: there is no release yet, and no model is loaded.
    oslo = channel_credentials(sites / "oslo")
    assert statuses(settings, oslo) == ("NOT_FOUND", "UNAVAILABLE")
    bergen = channel_credentials(sites / "bergen")
    assert statuses(settings, bergen) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


def test_without_our_certificate_there_is_no_connection(settings: Settings, pki: Path) -> None:
    ca = (pki / "ours" / "ca.crt").read_bytes()
    theirs = pki / "theirs" / "sites" / "oslo"
    key, certificate = ((theirs / name).read_bytes() for name in ("site.key", "site.crt"))
    server_key, server_certificate = (
        (pki / "ours" / name).read_bytes() for name in ("server.key", "server.crt")
    )
    for caller in (
        grpc.ssl_channel_credentials(ca),  # no certificate
        grpc.ssl_channel_credentials(ca, key, certificate),  # of another authority
        grpc.ssl_channel_credentials(ca, server_key, server_certificate),  # ours, not for callers
        channel_credentials(theirs),  # does not believe us either
        None,  # no TLS
    ):
        assert statuses(settings, caller) == ("UNAVAILABLE", "UNAVAILABLE")


@pytest.mark.skipif(not _own_addresses(), reason="this machine has no address but loopback")
def test_a_site_reaches_a_cloud_at_another_address_with_its_bundle_only(
    settings: Settings, pki: Path
) -> None:
    sites = pki / "ours" / "sites"

    async def call() -> None:
        server = services(settings)
        port = bind(server, settings).rpartition(":")[2]
        await server.start()
        address = f"{_own_addresses()[0]}:{port}"

        def look(keys: Path) -> object:
            with ReleaseChannel(address, keys=keys, timeout_s=30) as channel:
                return channel.current("oslo")

        assert await asyncio.to_thread(look, sites / "oslo") is None  # no release yet
        with pytest.raises(GenerationError, match="must belong together"):
            await asyncio.to_thread(look, sites / "bergen")
        with pytest.raises(GenerationError, match="not issued by the authority") as failed:
            await asyncio.to_thread(look, pki / "theirs" / "sites" / "oslo")
        assert failed.value.status == "UNAVAILABLE"
        await server.stop(None)

    asyncio.run(call())


@pytest.mark.parametrize("missing", ["ca.crt", "server.crt", "server.key"])
def test_a_service_for_other_machines_needs_keys(tmp_path: Path, pki: Path, missing: str) -> None:
    for file in (pki / "ours").glob("*.*"):
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = load(
        [f"var={tmp_path}", f"keys={tmp_path}", "service.address=0.0.0.0:0", "service.http=none"]
    )

    async def call() -> None:
        with pytest.raises(SettingsError, match=rf"service\.address.*{missing}.*run\.sh keys"):
            bind(grpc.aio.server(), settings)

    asyncio.run(call())


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ({}, True),  # loopback
        ({"transport_security_type": [b"insecure"]}, True),
        ({"transport_security_type": [b"ssl"], "x509_common_name": [b"oslo"]}, True),
        ({"transport_security_type": [b"ssl"], "x509_common_name": [b"bergen"]}, False),
        ({"transport_security_type": [b"ssl"], "x509_common_name": [b"oslo", b"bergen"]}, False),
        ({"transport_security_type": [b"ssl"], "x509_common_name": [b"oslo\0"]}, False),
        ({"transport_security_type": [b"ssl"]}, False),
    ],
)
def test_the_rule_about_names(identity: dict[str, list[bytes]], allowed: bool) -> None:
    if allowed:
        check_caller("oslo", identity)
        return
    with pytest.raises(GenerationError) as refused:
        check_caller("oslo", identity)
    assert refused.value.status == "PERMISSION_DENIED"
