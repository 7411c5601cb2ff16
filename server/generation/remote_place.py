"""Where the server of engine.kind=remote is, how it is spoken to, and whether it has the model."""

import os

import httpx

from fl.errors import BaseModelError, GenerationError, SettingsError
from fl.settings import EngineSettings
from server.generation.remote_wire import UpstreamModel, read_models

KEY_VARIABLE = "NETGPT_ENGINE_KEY"
CONNECT_S = 5.0  # a server that is there takes a connection at once


def base_url(url: str) -> str:
    """engine.url without a slash at its end. Raises SettingsError where it cannot be one."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise SettingsError("engine.url is not a URL such as http://127.0.0.1:8000/v1.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.userinfo:
        raise SettingsError(
            "engine.url is expected as http(s)://host:port/v1, without a query and a password "
            f"(the engine's key stands in the environment as {KEY_VARIABLE})."
        )
    return url.rstrip("/")


def headers() -> dict[str, str]:
    """What every call carries. Raises SettingsError for a key that no header can hold."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable():
        raise SettingsError(f"{KEY_VARIABLE} must be plain ASCII characters on one line.")
    # identity: compressed events would wait until there are enough of them
    return {"accept-encoding": "identity"} | ({"authorization": f"Bearer {key}"} if key else {})


def timeout(engine: EngineSettings) -> httpx.Timeout:
    """engine.timeout_s for each sign of life, less for the connection."""
    return httpx.Timeout(engine.timeout_s, connect=min(CONNECT_S, engine.timeout_s))


def find_model(engine: EngineSettings) -> UpstreamModel:
    """Ask the server for its models and choose engine.model, or the first.

    Raises GenerationError where nothing usable answers, BaseModelError where it has no such model.
    """
    url = base_url(engine.url)
    try:
        # no proxy of the environment: what is asked goes to engine.url alone
        with httpx.Client(headers=headers(), timeout=CONNECT_S, trust_env=False) as client:
            response = client.get(f"{url}/models")
        models = _listed(response, url)
    except httpx.HTTPError as error:
        raise GenerationError(
            f"No engine answers at {url} ({type(error).__name__}). Start it, or say where it is "
            "(engine.url=...).",
            status="UNAVAILABLE",
        ) from None
    for model in models:
        if engine.model in ("", model.name):
            return model
    names = ", ".join(repr(model.name) for model in models[:8]) or "none"
    raise BaseModelError(
        f"The engine at {url} has no model {engine.model!r}; it lists {names} (engine.model=...)."
    )


def _listed(response: httpx.Response, url: str) -> list[UpstreamModel]:
    status = response.status_code
    if status in (401, 403):
        raise GenerationError(
            f"The engine at {url} refused our key (HTTP {status}). Put the right one into the "
            f"environment as {KEY_VARIABLE}.",
            status="UNAVAILABLE",
        )
    try:
        if status != 200:
            raise ValueError(f"HTTP {status}")
        return read_models(response.content)
    except ValueError as error:
        raise GenerationError(
            f"What answers at {url} is no OpenAI-compatible API, or not ready: expected a list at "
            f"/models, found {error}. engine.url ends in /v1 as a rule.",
            status="UNAVAILABLE",
        ) from None
