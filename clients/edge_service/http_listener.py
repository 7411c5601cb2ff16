"""Where a site's HTTP API listens, and whose keys it takes.

A key is wanted on this machine too: others may use it, and the model knows what its site learned.
"""

from fl.openai_api.api_keys import ApiKeys, load_keys
from fl.openai_api.listener import Certificates, HttpListener
from fl.settings import Settings, resolve
from fl.wire.credentials import SERVER_CRT, SERVER_KEY

KEYS_VARIABLE = "NETGPT_EDGE_API_KEYS"
LARGEST_BODY = 256 * 1024  # bytes: a prompt of 4,000 characters and what was said before
_SETTING = "edge.http"


def http_listener(settings: Settings) -> HttpListener | None:
    """Bound, or None for edge.http=none. Raises SettingsError."""
    edge = settings.edge
    if edge.http == "none":
        return None
    certificates = None
    if edge.certificates:
        folder = resolve(edge.certificates)
        certificates = Certificates(certificate=folder / SERVER_CRT, key=folder / SERVER_KEY)
    return HttpListener(
        edge.http,
        setting=_SETTING,
        certificates=certificates,
        has_keys=http_keys(settings, None).required,
        insecure=edge.insecure,
    )


def http_keys(settings: Settings, token: str | None) -> ApiKeys:
    """The configured keys and the token of edge.json. Raises SettingsError."""
    edge = settings.edge
    return load_keys(
        resolve(edge.api_keys) if edge.api_keys else "",
        variable=KEYS_VARIABLE,
        per_minute=edge.requests_per_minute,
        setting="edge.api_keys",
        also={"edge.json": token} if token else {},
    )
