"""The validator: every combination has an answer, and every refusal a way out."""

from dataclasses import fields, replace
from itertools import product

import pytest

from fl.aggregation import METHODS
from fl.aggregation.compatibility import MIXED, OPTIONS, Choice, judge, require
from fl.errors import SettingsError


def choices() -> list[Choice]:
    """All there are."""
    flags = (False, True)
    names = [field.name for field in fields(Choice)]
    values = [OPTIONS.get(name, flags) for name in names]
    return [
        Choice(**dict(zip(names, combination, strict=True))) for combination in product(*values)
    ]


def test_every_choice_works_or_has_a_reason_and_a_nearest_that_works() -> None:
    works = 0
    for choice in choices():
        answer = judge(choice)
        if answer.ok:
            works += 1
            assert answer.nearest == choice
            assert not answer.reasons
        else:
            assert answer.reasons
            assert answer.nearest != choice
            assert judge(answer.nearest).ok, choice
    assert 0 < works < len(choices())


def test_the_table_speaks_of_the_methods_there_are() -> None:
    assert OPTIONS["method"] == tuple(METHODS)
    assert tuple(name for name, method in METHODS.items() if method.mixed_ranks) == MIXED
    for name, method in METHODS.items():
        optimised = judge(Choice(method=name, personal="dual", server_optimizer="adam"))
        needs = any("server_optimizer" in reason for reason in optimised.reasons)
        assert needs is not method.steps


@pytest.mark.parametrize("method", [name for name in METHODS if name != "fedsa"])
def test_a_method_goes_with_every_personal_part_but_its_own_b(method: str) -> None:
    for personal in ("none", "dual", "finetune"):
        wanted = method != "dual" or personal == "dual"
        assert judge(Choice(method=method, personal=personal)).ok is wanted
    assert not judge(Choice(method=method, personal="local_b")).ok


def test_a_refusal_says_why_and_what_works() -> None:
    with pytest.raises(SettingsError) as refused:
        require(Choice(method="fedavg", mixed_ranks=True))
    said = str(refused.value)
    assert "entries of factors of different rank do not correspond" in said
    assert "flora and flexlora take mixed ranks" in said
    assert said.endswith("Nearest that works: method=flora.")
    with pytest.raises(SettingsError, match=r"learning\.ditto_lambda=0\.$"):
        require(Choice(method="fedex", personal="dual", ditto=True))


def test_all_reasons_come_at_once() -> None:
    wrong = Choice(method="fedsa", robust="multi_krum", late="weighted", mixed_ranks=True)
    reasons = judge(wrong).reasons
    assert len(reasons) == 3  # personal, mixed ranks, robust
    assert judge(replace(wrong, method="flora", personal="dual")).ok


def test_what_is_only_doubtful_is_a_warning() -> None:
    (said,) = require(Choice(method="flora", uplink="int8"))
    assert "without error feedback" in said
    assert require(Choice(method="ffa", uplink="int8", server_optimizer="adam")) == ()


def test_a_name_that_does_not_exist_has_a_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean multi_krum"):
        judge(Choice(method="fedavg", robust="multikrum"))
