"""An intent's way to rules that admission obeys: looked at, confirmed, applied, taken back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clients.insight.acting.audit import FILE, Audit
from clients.insight.acting.verb import propose_and_apply, undo
from fl.errors import ActionError
from fl.network.rules import Rules
from fl.network.state_file import network_folder, read_state
from fl.settings import Settings, load
from fl.site_list import federated_sites

QUIET = Console(quiet=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load(
        [
            f"var={tmp_path}",
            "service.address=127.0.0.1:1",  # nobody answers there
            "link.profile=lte",
            "orchestration.cell=quay",
            "orchestration.deadline_s=2",
            "acting.names=[core switch=cloud]",
        ]
    )
    return replace(found, sites=2)


def site(settings: Settings) -> str:
    return federated_sites(settings)[0].id


def intent(settings: Settings, name: str, *more: tuple[str, str]) -> dict[str, Any]:
    slots = [["source", site(settings)], ["target", "Core Switch"], *map(list, more)]
    return {"intent": name, "slots": slots, "confidence": 0.95}


def rules(settings: Settings) -> Rules:
    return read_state(network_folder(settings)).now


def test_a_dry_run_changes_nothing_and_apply_sets_the_rule(settings: Settings) -> None:
    wanted = intent(settings, "create_flow", ("qos", "4 Mbps"))
    propose_and_apply(settings, wanted, QUIET)
    assert rules(settings) == Rules()
    (action,) = propose_and_apply(settings, wanted, QUIET, apply=True)
    assert rules(settings).number("at_least", site(settings)) == 4e6
    undo(settings, action.id, QUIET)
    assert rules(settings) == Rules()
    events = [line.event for line in Audit(network_folder(settings)).lines()]
    assert events == "proposed dry_run proposed dry_run confirmed applied undone".split()


def test_destructive_needs_its_id_after_a_dry_run(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    (action,) = propose_and_apply(settings, wanted, QUIET)
    with pytest.raises(ActionError, match=f"confirm={action.id}"):
        propose_and_apply(settings, wanted, QUIET, apply=True, yes=True)
    assert rules(settings) == Rules()
    propose_and_apply(settings, wanted, QUIET, apply=True, confirm=action.id)
    assert rules(settings).word("mode", site(settings)) == "edge"


def test_an_id_that_nobody_has_looked_at_confirms_nothing(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    (action,) = propose_and_apply(settings, wanted, QUIET)
    (network_folder(settings) / FILE).unlink()
    (network_folder(settings) / "audit.head").unlink()  # as on another machine
    with pytest.raises(ActionError, match="not confirmed"):
        propose_and_apply(settings, wanted, QUIET, apply=True, confirm=action.id)


def test_a_terminal_is_asked_and_the_id_is_typed(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    with pytest.raises(ActionError):
        propose_and_apply(settings, wanted, QUIET, apply=True, ask=lambda question: "y")
    propose_and_apply(
        settings, wanted, QUIET, apply=True, ask=lambda question: question.partition(":")[0]
    )
    assert rules(settings).word("mode", site(settings)) == "edge"


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ([("qos", "40 Mbps")], "at most 9.5"),  # lte has 10 up
        ([("source", "elsewhere")], "one source"),
    ],
)
def test_what_the_links_do_not_have_is_refused(
    settings: Settings, slots: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(ActionError, match=said):
        propose_and_apply(settings, intent(settings, "create_flow", *slots), QUIET, apply=True)
    assert rules(settings) == Rules()
    assert Audit(network_folder(settings)).lines()[-1].event == "refused"


def test_no_text_of_a_request_reaches_the_audit(settings: Settings) -> None:
    wanted = intent(settings, "create_flow")
    wanted["slots"][0][1] = "Zanzibar laptop"
    with pytest.raises(ActionError) as caught:
        propose_and_apply(settings, wanted, QUIET)
    assert "Zanzibar" not in str(caught.value)
    assert "Zanzibar" not in (network_folder(settings) / FILE).read_text()
