"""Intents over the site's HTTP API, beside the models; the same as the verb `intent`.

    POST /v1/intents          {"text": ...}          -> {intent, slots, confidence}
                              {"texts": [...]}       -> {"object": "list", "data": [...]}, in order
    GET  /v1/intents/schema                          -> the JSON Schema of an answer

`confidence` is the probability of the intent; of what is out of scope, 1 - that of the likeliest
intent in scope. `"complete": false` is added where slots may be missing for lack of room. A text
that the model cannot read whole is refused (400, param says which).
"""

import json
from collections.abc import Callable, Mapping, Sequence

from clients.insight.intents.schema import Intent, Schema, to_object
from fl.errors import BookError, FederationError, LongTextError
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import Resource, ResourceCall

MOST_TEXTS = 64  # of one call
LONGEST_TEXT = 2000  # characters

Body = Mapping[str, object]
Read = Callable[[Sequence[str]], Sequence[Intent]]


class IntentRoutes:
    """Of one site."""

    def __init__(self, schema: Schema, read: Read) -> None:
        """`read` may raise GenerationError, FederationError, BookError or LongTextError."""
        self._schema, self._read = schema, read

    def resources(self) -> list[Resource]:
        """What the gateway is to answer."""
        return [
            Resource(path="/v1/intents", methods=("POST",), answer=self._intents),
            Resource(path="/v1/intents/schema", methods=("GET",), answer=self._json_schema),
        ]

    def _json_schema(self, call: ResourceCall) -> Body:
        return self._schema.json_schema()

    def _intents(self, call: ResourceCall) -> Body:
        texts, one = _texts(call.body)
        try:
            found = [to_object(intent, self._schema) for intent in self._read(texts)]
        except LongTextError as error:
            param = "text" if one else f"texts[{error.index}]"
            raise ApiError(f"{param}: {error}", param=param) from None
        except FederationError as error:
            raise ApiError(str(error), http_status=503, kind="server_error") from None
        except BookError:  # its text is for who keeps the book
            raise ApiError(
                "The site's book of intents cannot be read; ./run.sh check task=intent says why.",
                http_status=503,
                kind="server_error",
            ) from None
        return found[0] if one else {"object": "list", "data": found}


def _texts(body: bytes) -> tuple[list[str], bool]:
    """(the texts of a body, whether it is one alone). Raises ApiError."""
    try:
        said = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or len(said.keys() & {"text", "texts"}) != 1 or len(said) > 1:
        raise ApiError('The body must be {"text": TEXT} or {"texts": [TEXT, ...]}.', param="text")
    one = "text" in said
    texts = [said["text"]] if one else said["texts"]
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_TEXTS:
        raise ApiError(f"texts is a list of 1 to {MOST_TEXTS} texts.", param="texts")
    if not all(isinstance(t, str) and t.strip() and len(t) <= LONGEST_TEXT for t in texts):
        raise ApiError(
            f"Every text must have 1 to {LONGEST_TEXT} characters, and not blanks alone.",
            param="text" if one else "texts",
        )
    return texts, one
