"""Profiles over the site's HTTP API, beside the models; the same as the verbs `profile`.

    GET                      /v1/profiles                   who has one
    GET PUT PATCH DELETE     /v1/profiles/PERSON            show; set all facts; some; erase
    GET                      /v1/profiles/PERSON/export     all that is held

PERSON@SITE, or ?site=SITE, is of another site that this machine hosts. Bodies: {"facts": {name:
text}}; PATCH removes a fact whose text is "" or null, and makes no profile.
"""

import json
from collections.abc import Callable, Mapping

from clients.profiles.profile import to_object
from clients.profiles.store import ProfileStore
from fl.errors import ProfileError, UnknownPerson
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import Resource, ResourceCall

Body = Mapping[str, object]


class ProfileRoutes:
    """Of the sites of one service; the first is its own."""

    def __init__(
        self,
        stores: Mapping[str, ProfileStore],
        *,
        on_changed: Callable[[str], None] = lambda site: None,
    ) -> None:
        """`stores` by the site's id, of which `on_changed` hears when somebody's has changed or
        gone.
        """
        self._stores, self._own, self._on_changed = stores, next(iter(stores)), on_changed

    def resources(self) -> list[Resource]:
        """What the gateway is to answer."""
        return [
            Resource(path="/v1/profiles", methods=("GET",), answer=self._list),
            Resource(path="/v1/profiles/{person}/export", methods=("GET",), answer=self._export),
            Resource(
                path="/v1/profiles/{person}",
                methods=("GET", "PUT", "PATCH", "DELETE"),
                answer=self._one,
            ),
        ]

    def _list(self, call: ResourceCall) -> Body:
        site = call.query.get("site", self._own)
        people = self._store(site).people()
        return {"object": "list", "data": [_named(person, site) for person in people]}

    def _export(self, call: ResourceCall) -> Body:
        person, site = self._whose(call)
        try:
            return to_object(self._store(site).read(person))
        except ProfileError as error:
            raise _api_error(error) from None

    def _one(self, call: ResourceCall) -> Body:
        person, site = self._whose(call)
        store = self._store(site)
        try:
            if call.method == "DELETE":
                store.erase(person)
                self._on_changed(site)
                return _named(person, site) | {"object": "profile.deleted", "deleted": True}
            if call.method in ("PUT", "PATCH"):
                all_of_them = call.method == "PUT"
                facts = _facts(call.body)
                shown = store.set(person, facts, afresh=all_of_them, make=all_of_them)
                self._on_changed(site)
            else:
                shown = store.read(person)
        except ProfileError as error:
            raise _api_error(error) from None
        found = to_object(shown)
        return _named(person, site) | {k: v for k, v in found.items() if k != "person"}

    def _whose(self, call: ResourceCall) -> tuple[str, str]:
        person, _, site = call.path["person"].partition("@")
        return person, site or call.query.get("site", self._own)

    def _store(self, site: str) -> ProfileStore:
        if site not in self._stores:  # it may be any text, so it is not repeated
            raise ApiError(
                f"There is no such site here; there is: {', '.join(self._stores)}.",
                http_status=404,
                param="site",
            )
        return self._stores[site]


def _named(person: str, site: str) -> dict[str, object]:
    return {"id": person, "object": "profile", "site": site}


def _facts(body: bytes) -> dict[str, str]:
    """The facts of a body; null is "". Raises ApiError."""
    try:
        facts = json.loads(body.decode("utf-8")).get("facts")
        facts.items()
    except (ValueError, RecursionError, AttributeError):
        raise ApiError('The body must be {"facts": {name: text}}.', param="facts") from None
    told = {name: "" if text is None else text for name, text in facts.items()}
    if not all(isinstance(text, str) for text in told.values()):
        raise ApiError("Every fact must be a text, or null.", param="facts")
    return told


def _api_error(error: ProfileError) -> ApiError:
    if isinstance(error, UnknownPerson):
        return ApiError(str(error), http_status=404, code="profile_not_found")
    return ApiError(str(error), code="invalid_profile", param="facts")
