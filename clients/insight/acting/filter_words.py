"""What a request says of a filter: does it allow or deny, and which service?

Whole phrases only; any other is refused.

A word that is read wrongly either takes away what works or opens what was closed, so nothing is
guessed from a part of a phrase: "should be disabled" holds a word that allows and denies.
"""

from collections.abc import Iterable
from itertools import product

from fl.errors import ActionError

# What a request calls a service -> what it is here.
_SERVICES = {
    "web": ("web", "websites", "web server", "web traffic", "web service", "http", "https"),
    "ping": ("ping", "ping service", "icmp"),
}
_WEB_MORE = ("apache server", "port 80", "port 443", "tcp 80", "tcp 443", "80", "443")


def allows(text: str) -> bool:
    """True allows, False denies. Raises ActionError for a phrase that is on neither list."""
    said = _plain(text)
    if said in _ALLOWING:
        return True
    if said in _DENYING:
        return False
    raise ActionError(
        "A filter allows or denies; the request's word is on neither list. Say it plainly: "
        '"allow", "should be accessible", or "block", "should not be able to access".'
    )


def service_of(text: str) -> str:
    """web, ping or "port N". Raises ActionError for any other."""
    words = " ".join(text.lower().split())
    if not words:
        raise ActionError("The request names no service or port to filter.")
    for service, names in _SERVICES.items():
        if words in names or (service == "web" and words in _WEB_MORE):
            return service
    digits = words.removeprefix("port ").strip()
    if digits.isdecimal() and len(digits) <= 5 and 0 < int(digits) < 65536:
        return f"port {int(digits)}"
    raise ActionError('A service is "web", "ping" or "port N"; the request names another one.')


def _plain(text: str) -> str:
    """Lower case, straight apostrophes, one space, "not" by itself."""
    said = " ".join(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    return said.replace("can't", "cannot").replace("n't", " not").replace("cannot", "can not")


def _phrases(*parts: Iterable[str]) -> frozenset[str]:
    """Every choice of one from each part, "" leaving that part out."""
    return frozenset(" ".join(filter(None, chosen)) for chosen in product(*parts))


_IS = ("", "be", "is", "are", "should be", "must be", "to be")
_IS_NOT = ("not", "not be", "is not", "are not", "should not be", "must not be", "may not be")
_DO_NOT = ("do not", "does not", "never", "should not", "must not")
_WHAT = ("", "it", "access", "access to", "access it", "to access", "to access it")

_OPENS = ("allow", "allows", "enable", "enables", "open", "opens", "permit", "permits", "let")
_OPENED = ("allowed", "enabled", "open", "opened", "permitted", "able", "accessible", "reachable")
_SHUTS = tuple(
    "drop drops block blocks close closes deny denies disable disables disallow disallows "
    "forbid forbids refuse refuses reject rejects prevent prevents stop stops restrict restricts "
    "revoke revokes".split()
)
_SHUT = tuple(
    "dropped blocked closed denied disabled disallowed forbidden refused rejected prevented "
    "stopped restricted revoked unable inaccessible unreachable".split()
)
_REACH = ("access", "access it", "access to", "reach", "reach it")

_ALLOWING = (
    _phrases(_OPENS, _WHAT)
    | _phrases(_IS, _OPENED, _WHAT)
    | _phrases(("", "can", "may", "should"), _REACH)
)
_DENYING = (
    _phrases(_SHUTS, _WHAT)
    | _phrases(_IS, _SHUT, _WHAT)
    | _phrases(("access", "access is", "access should be"), _SHUT)
    | _phrases(_IS_NOT, _OPENED, _WHAT)
    | _phrases(_DO_NOT, ("allow", "enable", "open", "permit", "let"), _WHAT)
    | _phrases(("can not", "may not", "should not", "must not", "do not"), _REACH)
    | {"can not be accessed", "no access", "without access"}
)
