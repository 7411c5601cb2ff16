"""A TCP relay in front of the cloud: counts what crosses, and is as slow as a profile says.

Only bytes are seen, encrypted ones where the way is. It runs on a thread of its own, so who uses
the link never pays for it but in waiting.
"""

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from fl.errors import GenerationError
from fl.link.line import Line
from fl.link.profiles import Profile
from fl.wire.address import split_address

CHUNK = 16_384  # bytes read at once; the most that arrives in one piece
_WINDOW = 1_048_576  # bytes on their way, each direction of a connection; then the sender waits


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Bytes on the socket since the relay began, TLS and HTTP/2 framing included."""

    up: int
    down: int

    def since(self, earlier: "Crossed") -> "Crossed":
        """What crossed after `earlier`."""
        return Crossed(up=self.up - earlier.up, down=self.down - earlier.down)


class Relay:
    """Listens on a free loopback port and passes everything on to `target`. Use with `with`."""

    def __init__(self, target: str, profile: Profile, *, seed: int = 0) -> None:
        """`target` is host:port. What comes by `side_address` takes the same link, uncounted."""
        self._target = split_address(target, setting="service.address")
        # One link for all connections, as the users of a cell share one.
        self._lines = [Line(bytes_per_s=0, delay_s=0, seed=seed + way) for way in (0, 1)]
        self.change(profile)
        self._crossed = [0, 0]  # bytes up, bytes down
        self._connections = set[asyncio.Task[None] | None]()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self.address = ""  # host:port to connect to
        self.side_address = ""  # another one, for what is not to be counted

    def change(self, profile: Profile) -> None:
        """Be another link for what comes from now on."""
        for line, mbit_s in zip(self._lines, (profile.up_mbit_s, profile.down_mbit_s), strict=True):
            line.change(
                bytes_per_s=mbit_s * 125_000,
                delay_s=profile.rtt_ms / 2000,
                jitter_s=profile.jitter_ms / 1000,
            )

    @property
    def crossed(self) -> Crossed:
        """What has crossed so far, by `address`."""
        return Crossed(up=self._crossed[0], down=self._crossed[1])

    def __enter__(self) -> "Relay":
        self._thread.start()
        self._started.wait()
        if not self.address:
            raise GenerationError("The link's relay found no free port on this machine.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        if self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        counted = await asyncio.start_server(self._counted, "127.0.0.1", 0)
        aside = await asyncio.start_server(self._aside, "127.0.0.1", 0)
        self.side_address, self.address = _address(aside), _address(counted)
        self._started.set()
        await self._stopping.wait()
        counted.close()
        aside.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _counted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._connected(reader, writer, counted=True)

    async def _aside(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._connected(reader, writer, counted=False)

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        # asyncio itself holds a task only weakly: without this it may be collected underway.
        task = asyncio.current_task()
        self._connections.add(task)
        try:
            await self._join(reader, writer, counted=counted)
        finally:
            self._connections.discard(task)

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                for way, (source, sink) in enumerate(((reader, far_writer), (far_reader, writer))):
                    group.create_task(self._pass_on(source, sink, way, counted=counted))
        except* (OSError, asyncio.CancelledError):
            pass  # one side has gone, or the relay ends: the other one learns it by the closing
        finally:
            for end in (writer, far_writer):
                end.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: int,
        *,
        counted: bool,
    ) -> None:
        """Chunks in, chunks out when they are due; the end of the stream last."""
        line = self._lines[way]
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW // CHUNK)

        async def arrive() -> None:
            while True:
                due, chunk = await underway.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not chunk:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(arrive())
            while chunk := await reader.read(CHUNK):
                if counted:
                    self._crossed[way] += len(chunk)
                await underway.put((line.arrival(time.monotonic(), len(chunk)), chunk))
            await underway.put((line.arrival(time.monotonic(), 0), b""))


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"
