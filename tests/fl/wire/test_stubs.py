"""The committed stubs are what the .proto says, and import as the rest of the code imports them."""

from pathlib import Path

import pytest

from fl.wire import stubs
from fl.wire.netgpt.v1 import generation_pb2


def test_stubs_are_current() -> None:
    assert stubs.stale_stubs() == [], "run: python -m fl.wire.stubs"


def test_a_changed_proto_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (stubs.ROOT / stubs.PROTO_FOLDER).glob("generation*"):
        copy = tmp_path / stubs.PROTO_FOLDER / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        copy.write_text(text.replace("string site_id = 2", "string site_id = 99"))
    monkeypatch.setattr(stubs, "ROOT", tmp_path)

    assert stubs.main(["--check"]) == 1
    assert "generation_pb2.py" in capsys.readouterr().out
    assert stubs.main([]) == 0
    assert stubs.main(["--check"]) == 0
    assert stubs.main(["--wrong"]) == 2


def test_the_service_has_its_public_name() -> None:
    service = generation_pb2.DESCRIPTOR.services_by_name["GenerationService"]
    assert service.full_name == "netgpt.v1.GenerationService"
