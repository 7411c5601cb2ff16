"""What the rules of management leave of a request at its site."""

from dataclasses import replace

from clients.asking.ask import Wish
from clients.workflow.workflow import Workflow
from fl.errors import GenerationError
from fl.network.rules import Rules
from fl.settings import Settings

NEEDS_CLOUD = ("cloud", "split")  # modes that cannot do without it


def is_denied(rules: Rules, site_id: str) -> bool:
    """Does a filter keep the site from the cloud?"""
    return rules.number("deny", site_id) > 0


def mode_of(rules: Rules, site_id: str, said: str, settings: Settings) -> str:
    """The mode that is asked for; where nobody says, that of a rule, else the settings'."""
    return said or rules.word("mode", site_id) or settings.mode


def permitted(rules: Rules, site_id: str, mode: str, workflow: Workflow) -> str:
    """The mode, or edge in the place of one that could do without the cloud.

    Raises GenerationError (PERMISSION_DENIED) for one that could not.
    """
    if not is_denied(rules, site_id):
        return mode
    if mode in NEEDS_CLOUD or workflow.mode("edge") != "edge":  # it may fix another mode
        raise GenerationError(
            f"A filter keeps site {site_id} from the cloud, so mode={mode} is not to be had. Ask "
            "with mode=edge.",
            status="PERMISSION_DENIED",
        )
    return "edge"


def with_class(rules: Rules, site_id: str, wish: Wish) -> Wish:
    """With the deadline of the site's QoS class where the asker says none."""
    seconds = rules.number("deadline", site_id)
    return replace(wish, deadline_s=seconds) if seconds and wish.deadline_s is None else wish
