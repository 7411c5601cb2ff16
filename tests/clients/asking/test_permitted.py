"""What a filter between a site and the cloud leaves of the modes."""

import pytest

from clients.asking.permitted import permitted
from clients.workflow.workflow_file import workflow_of
from fl.errors import GenerationError
from fl.network.rules import Rule, Rules
from fl.settings import load

WORKFLOW = workflow_of(load([]))
DENIED = Rules(rules=(Rule(kind="deny", site="elm", value=1.0),))


@pytest.mark.parametrize("mode", ["edge", "synergy", "auto"])
def test_what_can_do_without_the_cloud_does(mode: str) -> None:
    assert permitted(DENIED, "elm", mode, WORKFLOW) == "edge"
    assert permitted(DENIED, "oak", mode, WORKFLOW) == mode


@pytest.mark.parametrize("mode", ["cloud", "split"])
def test_what_cannot_is_refused(mode: str) -> None:
    with pytest.raises(GenerationError, match="filter") as caught:
        permitted(DENIED, "elm", mode, WORKFLOW)
    assert caught.value.status == "PERMISSION_DENIED"
