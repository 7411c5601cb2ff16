"""From an inferred intent to actions: numbers with units, who is meant, what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.insight.acting.actions import Action
from clients.insight.acting.proposing import INTENTS, inferred, propose
from clients.insight.acting.quantities import bound, quantity
from clients.insight.acting.simulator import CHANGES
from fl.errors import ActionError
from fl.settings import load

SETTINGS = load([])
SLOTS = ("source", "target", "operator", "qos", "action", "port")


def proposed(intent: str, *slots: tuple[str, str], confidence: float = 0.9) -> list[Action]:
    found = {"intent": intent, "slots": [list(s) for s in slots], "confidence": confidence}
    return propose(inferred(found), SETTINGS, now=1000.0)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("1Gbps", 1e9, "bit/s"),
        ("0.5 MBps", 4e6, "bit/s"),  # megabytes
        ("14 mbps", 14e6, "bit/s"),
        ("200 kilobits/s", 200e3, "bit/s"),
        ("201.2 KB/s", 1.6096e6, "bit/s"),
        ("10.40 KBit/s", 10.4e3, "bit/s"),
        ("1123.4 Mb/s", 1.1234e9, "bit/s"),
        (".43", 0.43e6, "bit/s"),  # acting.bare_unit
        ("20 ms", 0.02, "s"),
        ("30%", 0.3, "share"),
    ],
)
def test_quantities(text: str, value: float, unit: str) -> None:
    found = quantity(text, bare_unit="Mbps")
    assert found.value == pytest.approx(value)
    assert found.unit == unit
    assert found.assumed is (text == ".43")


@pytest.mark.parametrize(
    "text", ["fast", "1 parsec", "0 Mbps", "-3 Mbps", "1e999 Mbps", "120 %", ""]
)
def test_what_is_no_quantity_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ActionError) as caught:
        quantity(text, bare_unit="Mbps")
    assert "parsec" not in str(caught.value)


def test_bounds_and_bare_numbers() -> None:
    assert [bound(o) for o in ("not less than", "at most", "")] == [
        "at_least",
        "at_most",
        "at_least",
    ]
    with pytest.raises(ActionError, match="bare_unit"):
        quantity("5", bare_unit="")


def test_a_flow_with_a_rate_is_a_reservation() -> None:
    (action,) = proposed(
        "create_flow",
        ("source", "harbour"),
        ("target", "cloud"),
        ("operator", "at least"),
        ("qos", "1Gbps"),
    )
    assert action.kind == "bandwidth_reservation"
    assert action.parameters == {"bits_per_s": 1e9, "bound": "at_least"}
    assert not action.destructive
    assert not action.assumed
    assert action.expires == 1000.0 + SETTINGS.acting.expires_s


def test_what_the_schema_marks_or_is_a_guess_needs_confirmation() -> None:
    ends = (("source", "a"), ("target", "b"))
    (most,) = proposed("create_flow", *ends, ("operator", "at most"), ("qos", "1 Mbps"))
    (gone,) = proposed("remove_flow", *ends)
    (denied,) = proposed(
        "apply_filter", *ends, ("action", "should not be able"), ("port", "websites")
    )
    (bare,) = proposed("create_flow", *ends, ("qos", "5"))
    (unsaid,) = proposed("apply_filter", *ends, ("port", "https"))
    assert [a.destructive for a in (most, gone, denied, bare, unsaid)] == [
        False,  # that it takes away shows when it is tried out
        True,
        True,
        False,
        True,
    ]
    assert bare.assumed == ("unit",)
    assert unsaid.assumed == ("allow",)
    assert (gone.assumed, denied.assumed) == ((), ())


@pytest.mark.parametrize(
    "word", ["should not be able", "not allowed", "Drop", "don't let", "blocked"]
)
def test_one_word_that_denies_denies(word: str) -> None:
    (action,) = proposed("apply_filter", ("source", "a"), ("action", word), ("port", "https"))
    assert action.parameters == {"service": "web", "allow": False}


def test_a_combination_gives_the_filter_its_own_names() -> None:
    flow, filtered = proposed(
        "create_flow+apply_filter",
        ("source", "a"),
        ("target", "b"),
        ("qos", "20 ms"),
        ("action", "allow"),
        ("port", "ping"),
        ("source", "c"),
    )
    assert (flow.kind, flow.parameters) == ("qos_class", {"deadline_s": 0.02})
    assert (filtered.target[0].source, filtered.target[0].target) == ("c", "any")


def test_a_batch_is_a_slice() -> None:
    pairs = [("source", "a"), ("target", "b"), ("qos", "8 Mbps")] * 2
    (action,) = proposed("allocate_batch", *pairs)
    assert action.kind == "slice"
    assert action.parameters == {"bits_per_s": (8e6, 8e6)}


def test_slots_that_may_not_be_all_there_make_no_action() -> None:
    found = {"intent": "remove_flow", "slots": {}, "confidence": 0.9, "complete": False}
    with pytest.raises(ActionError, match="fewer words"):
        inferred(found)


@pytest.mark.parametrize(
    ("intent", "confidence"), [("out_of_scope", 1.0), ("create_flow", 0.2), ("a+b+c", 1.0)]
)
def test_out_of_scope_and_unsure_are_refused(intent: str, confidence: float) -> None:
    with pytest.raises(ActionError):
        proposed(intent, ("source", "a"), ("target", "b"), confidence=confidence)


def test_the_id_is_of_the_change_alone() -> None:
    one, other = (
        proposed("remove_flow", ("source", "a"), ("target", b), confidence=c)[0]
        for b, c in (("b", 0.9), ("c", 0.9))
    )
    assert one.id == replace(one, expires=5.0, confidence=1.0).id != other.id


@given(
    st.sampled_from([*INTENTS, *(f"{i}+apply_filter" for i in INTENTS)]),
    st.lists(st.tuples(st.sampled_from(SLOTS), st.text(max_size=12)), max_size=9),
)
def test_whatever_the_slots_say_it_is_an_action_or_a_refusal(
    intent: str, slots: list[tuple[str, str]]
) -> None:
    try:
        actions = proposed(intent, *slots)
    except ActionError:
        return
    assert actions
    assert {action.kind for action in actions} <= set(CHANGES)
