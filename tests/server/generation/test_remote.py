"""The remote engine against a server that refuses, fails, lies, hangs and goes away."""

import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fl.errors import BaseModelError, GenerationError, NetGPTError, SettingsError
from fl.generation import GenerationRequest, Reply, TextPiece, Turn
from fl.prompt_format import cloud_prompt
from fl.settings import Settings, load
from server.generation.engine import Event
from server.generation.remote import RemoteEngine, open_engine
from tests.server.generation.scripted_server import CANARY, MODEL, ScriptedServer, running

ANSWER = "A table for two."
PRIVATE = "my-private-words"


def wanted(script: str = "answer", **fields: Any) -> GenerationRequest:
    asked = {"max_new_tokens": 12, **fields}
    return GenerationRequest(request_id="r", site_id="s", prompt=f"{PRIVATE} {script}", **asked)


class Inbox:
    """Collects what an engine delivers to one request."""

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.put = self.events.put

    def first(self) -> Event:
        return self.events.get(timeout=30)

    def end(self) -> tuple[list[str], Reply | GenerationError]:
        """The pieces and the one terminal event."""
        pieces = []
        while isinstance(event := self.events.get(timeout=30), TextPiece):
            pieces.append(event.text)
        return pieces, event


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    with running(server):
        yield server
        server.go_on.set()


@pytest.fixture
def settings(server: ScriptedServer) -> Settings:
    return configured(server.url)


def configured(url: str, **engine: Any) -> Settings:
    settings = load(["threads=1"])
    remote = replace(settings.engine, kind="remote", url=url, timeout_s=20, **engine)
    return replace(settings, engine=remote, service=replace(settings.service, queue=30))


@pytest.fixture
def engine(settings: Settings) -> Iterator[RemoteEngine]:
    engine = open_engine(settings)
    yield engine
    engine.close()


def ask(engine: RemoteEngine, request: GenerationRequest) -> tuple[list[str], Any]:
    inbox = Inbox()
    engine.submit(request, inbox.put)
    pieces, end = inbox.end()
    assert inbox.events.empty()
    return pieces, end


def test_an_answer_comes_in_pieces_and_is_counted(
    engine: RemoteEngine, server: ScriptedServer
) -> None:
    pieces, reply = ask(engine, wanted(seed=-1, stop=("\n",), temperature=0.5))

    assert pieces == ["A", " table", " for", " two", "."]
    assert (reply.text, reply.finish_reason) == (ANSWER, "length")
    assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)
    assert min(reply.prefill_seconds, reply.decode_seconds) >= 0
    assert (engine.model_name, reply.model_fingerprint) == (MODEL, engine.model_fingerprint)
    [body] = server.bodies
    assert body["prompt"] == cloud_prompt(f"{PRIVATE} answer")
    assert (body["model"], body["max_tokens"], body["stop"]) == (MODEL, 12, ["\n"])
    assert (body["temperature"], body["seed"]) == (0.5, 2**31 - 1)
    assert "min_p" in body  # this server takes more than OpenAI's fields
    assert ask(engine, wanted("no-usage"))[1].completion_tokens == 5  # the pieces


def test_plain_texts_and_conversations_are_written_down(
    engine: RemoteEngine, server: ScriptedServer
) -> None:
    history = (
        Turn(role="system", content="Be brief."),
        Turn(role="user", content="food?"),
        Turn(role="assistant", content="A pie."),
    )
    plain, _ = ask(engine, replace(wanted(), prompt="Once answer", plain=True))
    ask(engine, wanted(history=history, max_new_tokens=None))

    assert "".join(plain) == f"  {ANSWER}"  # as it was written
    assert server.bodies[0]["prompt"] == "Once answer"
    assert server.bodies[1]["prompt"] == (
        f"Be brief.\nRequest: food?\nAnswer: A pie.\nRequest: {PRIVATE} answer\nAnswer:"
    )
    assert server.bodies[1]["max_tokens"] == load([]).service.max_new_tokens


def test_messages_for_the_chat_api(server: ScriptedServer) -> None:
    server.models["data"][0]["owned_by"] = "somebody"
    engine = open_engine(configured(server.url + "/", api="chat", model=MODEL))
    turn = Turn(role="assistant", content="A pie.")

    pieces, reply = ask(engine, wanted(history=(turn,)))
    with pytest.raises(GenerationError, match="Ask for a chat") as refused:
        engine.submit(wanted(plain=True), Inbox().put)
    engine.close()

    assert "".join(pieces) == reply.text == ANSWER
    assert refused.value.status == "INVALID_ARGUMENT"
    [body] = server.bodies
    assert body["messages"] == [
        {"role": "assistant", "content": "A pie."},
        {"role": "user", "content": f"{PRIVATE} answer"},
    ]
    assert not {"min_p", "top_k", "repeat_penalty"} & set(body)


FAULTS = {
    "400": "INVALID_ARGUMENT",
    "413": "INVALID_ARGUMENT",
    "422": "INVALID_ARGUMENT",
    "404": "NOT_FOUND",
    "429": "RESOURCE_EXHAUSTED",
    "401": "UNAVAILABLE",
    "403": "UNAVAILABLE",
    "307": "UNAVAILABLE",
    "418": "UNAVAILABLE",
    "500": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "breaks": "UNAVAILABLE",
    "breaks-off": "UNAVAILABLE",
    "done-too-early": "UNAVAILABLE",
    "abort": "UNAVAILABLE",
    "error-event": "UNAVAILABLE",
    "error-event-400": "INVALID_ARGUMENT",
    "html": "DATA_LOSS",
    "no-json": "DATA_LOSS",
    "no-utf8": "DATA_LOSS",
    "surrogate": "DATA_LOSS",
    "other-shape": "DATA_LOSS",
    "text-is-number": "DATA_LOSS",
    "deep": "DATA_LOSS",
    "endless-line": "DATA_LOSS",
    "endless-text": "DATA_LOSS",
}


def test_every_fault_has_its_status_and_quotes_nothing(
    engine: RemoteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found, said = {}, ""
    for script in FAULTS:
        _, error = ask(engine, wanted(script))
        assert isinstance(error, GenerationError), script
        found[script] = error.status
        said += str(error)
        assert ask(engine, wanted())[1].text == ANSWER  # and the next one is served

    assert found == FAULTS
    ours = [record for record in caplog.records if record.name.startswith("server.")]
    assert not [record for record in ours if record.levelno > logging.WARNING]
    for secret in (CANARY, PRIVATE):
        assert secret not in said + caplog.text
    assert "the engine refused our key" in caplog.text
    assert "our key" not in said
    assert engine.load.running == engine.load.waiting == engine.load.waiting_tokens == 0


def test_a_mistake_of_ours_ends_one_request(
    engine: RemoteEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(payload: bytes, api: str) -> None:
        raise RuntimeError(CANARY)

    with monkeypatch.context() as patched:
        patched.setattr("server.generation.remote_job.read_chunk", mistaken)
        _, error = ask(engine, wanted())

    assert error.status == "INTERNAL"
    error_id = str(error).removesuffix(".").split()[-1]
    assert f"error {error_id}: a request failed with RuntimeError" in caplog.text
    assert CANARY not in str(error) + caplog.text
    assert ask(engine, wanted())[1].text == ANSWER


def test_a_server_that_hangs_is_given_up(server: ScriptedServer) -> None:
    settings = configured(server.url)
    engine = open_engine(replace(settings, engine=replace(settings.engine, timeout_s=0.3)))
    ends = [ask(engine, wanted(script)) for script in ("silent", "hold")]
    engine.close()

    assert [error.status for _, error in ends] == ["UNAVAILABLE"] * 2
    assert [pieces for pieces, _ in ends] == [[], ["A"]]
    assert server.left.acquire(timeout=30)  # and no longer works for us
    assert server.left.acquire(timeout=30)


@pytest.mark.parametrize("script", ["silent", "hold"])
def test_a_cancelled_request_leaves_the_server(
    engine: RemoteEngine, server: ScriptedServer, script: str
) -> None:
    inbox = Inbox()
    ticket = engine.submit(wanted(script), inbox.put)
    if script == "hold":
        assert isinstance(inbox.first(), TextPiece)
    else:
        while not server.bodies:
            threading.Event().wait(0.01)

    ticket.cancel()
    _, reply = inbox.end()

    assert server.left.acquire(timeout=30)
    assert isinstance(reply, Reply)
    assert (reply.finish_reason, reply.text) == ("cancelled", "A" if script == "hold" else "")
    ticket.cancel()  # safe to repeat
    assert ask(engine, wanted())[1].text == ANSWER
    assert inbox.events.empty()


def test_a_request_cancelled_at_once_ends_too(engine: RemoteEngine) -> None:
    inboxes = [Inbox() for _ in range(20)]
    for inbox in inboxes:
        engine.submit(wanted(), inbox.put).cancel()

    assert {getattr(inbox.end()[1], "finish_reason", None) for inbox in inboxes} == {"cancelled"}


def test_a_hundred_at_once_are_bounded(engine: RemoteEngine, server: ScriptedServer) -> None:
    accepted: queue.Queue[Inbox] = queue.Queue()
    refused: queue.Queue[str] = queue.Queue()

    def submit() -> None:
        inbox = Inbox()
        try:
            engine.submit(wanted("hold"), inbox.put)
            accepted.put(inbox)
        except GenerationError as error:
            refused.put(error.status)

    threads = [threading.Thread(target=submit) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.go_on.set()
    replies = [accepted.get_nowait().end()[1] for _ in range(accepted.qsize())]

    assert [getattr(reply, "text", reply) for reply in replies] == [ANSWER] * 30
    assert list(refused.queue) == ["RESOURCE_EXHAUSTED"] * 70
    assert ask(engine, wanted())[1].text == ANSWER  # room again


def test_the_door_counts_characters(server: ScriptedServer) -> None:
    settings = configured(server.url)
    service = replace(settings.service, queue_tokens=100, max_prompt_tokens=50, max_new_tokens=20)
    engine = open_engine(replace(settings, service=service))
    inbox = Inbox()
    engine.submit(replace(wanted(), prompt="word " * 70 + "silent"), inbox.put)  # about 90 tokens

    refused = []
    for request in (
        replace(wanted(), prompt="word " * 20),
        replace(wanted(), prompt="x" * (64 * 50 + 1)),
        wanted(max_new_tokens=21),
    ):
        with pytest.raises(GenerationError) as error:
            engine.submit(request, Inbox().put)
        refused.append(error.value.status)
    engine.close()

    assert refused == ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INVALID_ARGUMENT"]
    assert isinstance(inbox.end()[1], Reply)


def test_closing_cancels_and_refuses(engine: RemoteEngine, server: ScriptedServer) -> None:
    inbox = Inbox()
    ticket = engine.submit(wanted("hold"), inbox.put)
    inbox.first()
    engine.close()

    assert inbox.end()[1].finish_reason == "cancelled"  # type: ignore[union-attr]
    assert server.left.acquire(timeout=30)
    assert not engine.alive
    with pytest.raises(GenerationError, match="shutting down"):
        engine.submit(wanted(), Inbox().put)
    ticket.cancel()
    engine.close()


def test_a_server_that_goes_away_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    server = ScriptedServer()
    with running(server) as port:
        engine = open_engine(configured(server.url))
        assert ask(engine, wanted())[1].text == ANSWER
    gone = [ask(engine, wanted())[1].status for _ in range(3)]
    assert engine.alive
    with running(server, port):
        back = ask(engine, wanted())[1].text
    engine.close()

    assert (gone, back) == (["UNAVAILABLE"] * 3, ANSWER)
    told = [record.getMessage().rsplit(": ", 1)[-1] for record in caplog.records]
    assert told == ["ConnectError", f"the engine at {server.url} answers again"]


def test_the_key_is_sent(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETGPT_ENGINE_KEY", "k-1\n")
    engine = open_engine(configured(server.url))
    ask(engine, wanted())
    engine.close()
    assert [seen.get("authorization") for seen in server.headers] == ["Bearer k-1"] * 2

    monkeypatch.setenv("NETGPT_ENGINE_KEY", "k\u00e9y")
    with pytest.raises(SettingsError, match="ASCII"):
        open_engine(configured(server.url))


def test_opening_says_what_is_wrong(server: ScriptedServer) -> None:
    def opened(url: str, **engine: Any) -> str:
        with pytest.raises(NetGPTError) as error:
            open_engine(configured(url, **engine))
        kind = type(error.value).__name__
        return f"{kind}: {error.value}"

    assert "lists 'llama-of-theirs'" in opened(server.url, model="another")
    with pytest.raises(BaseModelError):
        open_engine(configured(server.url, model="another"))
    assert "/models, found HTTP 404" in opened(server.url.removesuffix("/v1"))
    server.models = {"data": 7}
    assert "no list of models" in opened(server.url)
    server.models = {"data": []}
    assert "it lists none" in opened(server.url)
    server.models_status = 401
    assert "refused our key" in opened(server.url)
    assert "GenerationError: No engine answers" in opened("http://127.0.0.1:9/v1")
    assert "SettingsError" in opened("http://me:pass@127.0.0.1/v1")
    assert "SettingsError" in opened("ftp://127.0.0.1/v1")
