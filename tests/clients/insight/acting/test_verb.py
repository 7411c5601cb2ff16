"""An intent's way to rules that admission obeys: looked at, confirmed, applied, taken back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clients.insight.acting.actions import Action
from clients.insight.acting.audit import FILE, Audit
from clients.insight.acting.carrying_out import Consent
from clients.insight.acting.deployment import simulator_of
from clients.insight.acting.verb import propose_and_apply
from clients.insight.acting.verb import undo as undo_by
from fl.errors import ActionError
from fl.network.rules import Rule, Rules
from fl.network.state_file import NetworkState, network_folder, publish_state, read_state
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


def act(settings: Settings, wanted: object, **said: Any) -> list[Action]:
    consent = Consent(**said)
    return propose_and_apply(
        settings, wanted, QUIET, actuator=simulator_of(settings), consent=consent
    )


def undo(settings: Settings, action_id: str, **said: Any) -> None:
    undo_by(settings, action_id, QUIET, actuator=simulator_of(settings), consent=Consent(**said))


def events(settings: Settings) -> list[str]:
    return [line.event for line in Audit(network_folder(settings)).lines()]


def alone(settings: Settings) -> Settings:
    """Each site has a link of its own, so that a reservation costs nobody anything."""
    return replace(settings, orchestration=replace(settings.orchestration, cell=""))


def applied(settings: Settings, wanted: object) -> Action:
    """Looked at, confirmed, done."""
    (action,) = act(settings, wanted)
    act(settings, wanted, apply=True, confirm=action.id)
    return action


def test_a_dry_run_changes_nothing_and_apply_sets_the_rule(settings: Settings) -> None:
    settings = alone(settings)
    wanted = intent(settings, "create_flow", ("qos", "4 Mbps"))
    act(settings, wanted)
    assert rules(settings) == Rules()
    (action,) = act(settings, wanted, apply=True)
    assert rules(settings).number("at_least", site(settings)) == 4e6
    undo(settings, action.id)
    assert rules(settings).number("at_least", site(settings)) == 4e6
    undo(settings, action.id, apply=True)
    assert rules(settings) == Rules()
    tried = ["proposed", "dry_run"]
    did = ["dry_run", "dry_run", "confirmed", "applying"]
    assert events(settings) == [*tried, "proposed", *did[1:], "applied", *did, "undone"]
    done, undone = (
        next(line for line in Audit(network_folder(settings)).lines() if line.event == event)
        for event in ("applied", "undone")
    )
    assert done.kind == undone.kind == "bandwidth_reservation"
    assert [rule["value"] for rule in done.rules] == [4e6]
    assert (undone.rules, undone.removed, done.removed) == ((), done.rules, ())


@pytest.mark.parametrize(
    ("slots", "more"),
    [
        ([("qos", "20 ms")], {}),  # nothing comes in within 20 ms any more
        ([("qos", "95%")], {}),  # of the workers' time: 5 % are left to the neighbour
        ([("qos", "4 Mbps")], {}),  # of the link that the neighbour uses as well
        ([("operator", "at most"), ("qos", "1 Mbps")], {}),
        ([], {"mode": "edge"}),  # prompts begin to leave the site
    ],
)
def test_what_costs_anybody_anything_needs_its_id(
    settings: Settings, slots: list[tuple[str, str]], more: dict[str, Any]
) -> None:
    settings = replace(settings, **more)
    wanted = intent(settings, "create_flow", *slots)
    with pytest.raises(ActionError, match="not confirmed"):
        act(settings, wanted, apply=True, yes=True)
    assert rules(settings) == Rules()
    assert applied(settings, wanted).kind
    assert rules(settings) != Rules()


def test_destructive_needs_its_id_after_a_dry_run(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    (action,) = act(settings, wanted)
    with pytest.raises(ActionError, match=f"confirm={action.id}"):
        act(settings, wanted, apply=True, yes=True)
    assert rules(settings) == Rules()
    act(settings, wanted, apply=True, confirm=action.id)
    assert rules(settings).word("mode", site(settings)) == "edge"


def test_lifting_a_filter_needs_its_id(settings: Settings) -> None:
    deny = Rule(kind="deny", site=site(settings), value=1.0)
    publish_state(network_folder(settings), NetworkState(now=Rules(rules=(deny,))))
    wanted = intent(settings, "apply_filter", ("action", "enable"), ("port", "https"))
    with pytest.raises(ActionError, match="not confirmed"):
        act(settings, wanted, apply=True, yes=True)
    assert rules(settings).rules == (deny,)
    applied(settings, wanted)
    assert rules(settings) == Rules()
    line = Audit(network_folder(settings)).lines()[-1]
    assert (line.event, line.rules, line.removed[0]["kind"]) == ("applied", (), "deny")


def test_an_id_confirms_the_effect_that_was_shown_and_no_other(settings: Settings) -> None:
    """The request stays the same; what its names mean here, or what holds here, does not."""
    here, there = (one.id for one in federated_sites(settings)[:2])
    wanted = intent(settings, "remove_flow")
    wanted["slots"][0][1] = "h1"

    def named(target: str) -> Settings:
        names = [f"h1={target}", "core switch=cloud"]
        return replace(settings, acting=replace(settings.acting, names=names))

    (action,) = act(named(here), wanted)
    with pytest.raises(ActionError, match="not confirmed"):
        act(named(there), wanted, apply=True, confirm=action.id)
    act(named(here), wanted)
    other = Rule(kind="deadline", site=here, value=3.0)  # which the action would take away
    publish_state(network_folder(settings), NetworkState(now=Rules(rules=(other,))))
    with pytest.raises(ActionError, match="not confirmed"):
        act(named(here), wanted, apply=True, confirm=action.id)
    assert rules(settings).rules == (other,)


def test_what_changes_while_a_person_thinks_is_not_done(settings: Settings) -> None:
    wanted, here = intent(settings, "remove_flow"), site(settings)
    other = NetworkState(now=Rules(rules=(Rule(kind="deadline", site=here, value=3.0),)))

    def slow(question: str) -> str:
        publish_state(network_folder(settings), other)
        return question.partition(":")[0]

    with pytest.raises(ActionError, match="another than what was shown"):
        act(settings, wanted, apply=True, ask=slow)
    assert read_state(network_folder(settings)) == other
    assert events(settings)[-1] == "failed"


def test_an_id_that_nobody_has_looked_at_confirms_nothing(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    (action,) = act(settings, wanted)
    (network_folder(settings) / FILE).unlink()
    (network_folder(settings) / "audit.head").unlink()  # as on another machine
    with pytest.raises(ActionError, match="not confirmed"):
        act(settings, wanted, apply=True, confirm=action.id)


def test_a_terminal_is_asked_and_the_id_is_typed(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    with pytest.raises(ActionError):
        act(settings, wanted, apply=True, ask=lambda question: "y")
    act(settings, wanted, apply=True, ask=lambda question: question.partition(":")[0])
    assert rules(settings).word("mode", site(settings)) == "edge"


def test_all_of_a_request_is_done_or_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = alone(settings)
    flow = intent(settings, "create_flow", ("qos", "4 Mbps"))
    more = intent(settings, "create_flow", ("qos", "40 Mbps"))  # lte has 10 up
    with pytest.raises(ActionError, match=r"at most 9\.5"):
        act(settings, [flow, more], apply=True)
    assert rules(settings) == Rules()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clients.insight.acting.simulator.publish_state", full)
    with pytest.raises(ActionError, match="No space left"):
        act(settings, flow, apply=True)
    assert events(settings)[-3:] == ["confirmed", "applying", "failed"]


def test_what_holds_already_is_not_done_twice(settings: Settings) -> None:
    wanted = intent(settings, "remove_flow")
    action = applied(settings, wanted)
    with pytest.raises(ActionError, match="holds already"):
        act(settings, wanted, apply=True, confirm=action.id)
    undo(settings, action.id)
    undo(settings, action.id, apply=True, confirm=action.id)
    assert rules(settings) == Rules()


def test_taking_back_may_take_away_and_needs_the_id_too(settings: Settings) -> None:
    settings = alone(settings)
    folder, here = network_folder(settings), site(settings)
    gone = Rule(kind="at_least", site="left-long-ago", value=1e6)  # of no site of these settings
    deny = Rule(kind="deny", site=here, value=1.0, action="a1")
    state = NetworkState(now=Rules(rules=(gone,))).after("a1", Rules(rules=(deny,)))
    publish_state(folder, state)
    with pytest.raises(ActionError, match="not confirmed"):
        undo(settings, "a1", apply=True, yes=True)
    assert read_state(folder) == state
    undo(settings, "a1", apply=True, confirm="a1")
    assert rules(settings).rules == (gone,)
    with pytest.raises(ActionError, match="newest"):
        undo(settings, "a1", apply=True)


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
        act(settings, intent(settings, "create_flow", *slots), apply=True)
    assert rules(settings) == Rules()
    assert Audit(network_folder(settings)).lines()[-1].event == "refused"


def test_no_text_of_a_request_reaches_the_audit(settings: Settings) -> None:
    wanted = intent(settings, "create_flow")
    wanted["slots"][0][1] = "Zanzibar laptop"
    with pytest.raises(ActionError) as caught:
        act(settings, wanted)
    assert "Zanzibar" not in str(caught.value)
    assert "Zanzibar" not in (network_folder(settings) / FILE).read_text()
