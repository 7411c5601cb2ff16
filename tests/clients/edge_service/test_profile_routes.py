"""Profiles over HTTP: who keeps what was written from one hears of each change."""

from pathlib import Path

import pytest

from clients.edge_service.profile_routes import ProfileRoutes
from clients.profiles.store import ProfileStore
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import ResourceCall


def test_each_change_is_told_and_a_look_or_a_refusal_is_none(tmp_path: Path) -> None:
    heard: list[str] = []
    routes = ProfileRoutes({"elm": ProfileStore(tmp_path)}, on_changed=heard.append)
    [one] = [its for its in routes.resources() if "PATCH" in its.methods]

    def call(method: str, body: bytes = b"") -> int:
        one.answer(ResourceCall(method=method, path={"person": "ada"}, query={}, body=body))
        return len(heard)

    assert call("PUT", b'{"facts": {"wish": "a lilac chair"}}') == 1
    assert call("GET") == 1
    assert call("PATCH", b'{"facts": {"wish": null}}') == 2
    with pytest.raises(ApiError):
        call("PATCH", b'{"facts": {"BAD NAME": "x"}}')
    assert call("DELETE") == 3
    assert heard == ["elm"] * 3
