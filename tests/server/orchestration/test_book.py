"""The cloud's book: requests, adverts, and what answers teach."""

from dataclasses import replace

import pytest

from fl.errors import GenerationError
from fl.link.speed import LinkSpeed
from fl.network.rules import Rule, Rules
from server.orchestration.adverts import Advert
from server.orchestration.book import Book
from tests.server.orchestration.books import (
    HERE,
    SETTINGS,
    Clock,
    announced,
    book_of,
    reply,
)


def test_a_promise_nobody_comes_for_lapses_with_its_deadline() -> None:
    clock = Clock()
    book = book_of(clock)
    assert book.admit(announced("a", deadline_s=0.7)).place == "cloud"
    assert book.admit(announced("b", deadline_s=0.7)).place == "shed"  # 0.9 s beside the other
    clock.now += 0.7
    assert book.admit(announced("c", deadline_s=0.7)).place == "cloud"
    assert book.decided == {"cloud": 2, "edge": 0, "shed": 1}


def test_a_place_that_is_given_back_is_free() -> None:
    book = book_of(Clock())
    book.admit(announced("a", deadline_s=0.7))
    book.release("a")
    assert book.admit(announced("b", deadline_s=0.7)).place == "cloud"
    book.come("b", HERE)
    book.release("b")  # it is at work: giving its place back changes nothing
    assert book.workers()[0].promised == 1


def test_who_asks_again_has_one_place() -> None:
    clock = Clock()
    book = book_of(clock)
    for _ in range(3):
        assert book.admit(announced("a", deadline_s=0.7)).place == "cloud"
    assert book.workers()[0].promised == 1
    assert book.admit(announced("a", deadline_s=0.1)).place == "shed"
    assert book.workers()[0].promised == 0
    book.admit(announced("a"))
    book.come("a", HERE)
    with pytest.raises(GenerationError, match="here already") as refused:
        book.admit(announced("a"))
    assert refused.value.status == "ALREADY_EXISTS"
    assert book.workers()[0].promised == 1  # that of the one at work


def test_answers_teach_how_long_they_take_and_are() -> None:
    clock = Clock()
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE)
        clock.now += 5.0
        book.end(str(number), reply(10, 5.0))  # alone: half a second a token
    assert book.workers()[0].pace.token_s(1) == pytest.approx(0.5, rel=0.05)
    verdict = book.admit(announced("next", deadline_s=60.0))
    assert verdict.expected_s == pytest.approx(5.0, rel=0.1)  # 10 tokens are usual by now


def test_who_gave_up_teaches_nothing_and_leaves_nothing() -> None:
    clock = Clock()
    book = book_of(clock)
    before = book.workers()[0].pace
    book.come("a", HERE)
    clock.now += 9.0
    book.end("a", None)
    assert book.workers()[0].pace == before
    assert book.workers()[0].promised == 0


def test_an_answer_that_was_cut_off_teaches_nothing() -> None:
    clock = Clock()
    book = book_of(clock)
    expected_s = book.admit(announced("a", deadline_s=9.0)).expected_s
    before = book.workers()[0].pace
    for _ in range(20):
        book.come("a", HERE)
        clock.now += 9.0
        book.end("a", reply(1, 9.0, finish_reason="cancelled"))
    assert book.workers()[0].pace == before
    assert book.admit(announced("b", deadline_s=9.0)).expected_s == pytest.approx(expected_s)


def test_the_newest_advert_counts() -> None:
    clock = Clock()
    book = book_of(clock)
    for rtt_s in (0.1, 0.3):
        book.advertise(
            Advert(
                site_id="elm",
                cell="elm",
                cores=2,
                memory_mb=1000,
                waiting=0,
                step_s=0.01,
                row_s=0.001,
                link=LinkSpeed(rtt_s=rtt_s, up_bytes_s=1000, down_bytes_s=1000),
                federation="f",
                release=3,
            )
        )
        clock.now += 2.0
    ((age_s, advert),) = book.adverts()
    assert age_s == pytest.approx(2.0)
    assert advert.link is not None
    assert advert.link.rtt_s == pytest.approx(0.3)
    # 0.6 s of writing, 0.3 s of way, 0.1 s of bytes each way.
    assert book.admit(announced("a", deadline_s=9.0)).expected_s == pytest.approx(1.1)


def test_the_round_trip_of_a_question_counts_for_it() -> None:
    clock = Clock()
    book = book_of(clock)
    link = LinkSpeed(rtt_s=0.1, up_bytes_s=1e6, down_bytes_s=1e6)
    advert = Advert(
        site_id="elm",
        cell="elm",
        cores=2,
        memory_mb=100,
        waiting=0,
        step_s=0.01,
        row_s=0.01,
        link=link,
        federation="",
        release=0,
    )
    book.advertise(advert)
    assert book.admit(announced("quick")).place == "cloud"  # 0.6 s and 0.1 s of 1 s
    book.release("quick")
    assert book.admit(replace(announced("slow"), rtt_s=0.6)).place == "shed"


def test_rules_of_management_are_obeyed_from_the_next_question_on() -> None:
    held: list[Rules] = [Rules()]
    book = Book(SETTINGS, clock=Clock(), rules=lambda: held[0])
    book.staff(HERE)
    assert book.admit(announced("a", deadline_s=0.7)).place == "cloud"  # 0.6 s alone
    book.release("a")
    held[0] = Rules(rules=(Rule(kind="share", site="oak", value=0.5),))
    assert book.admit(announced("b", deadline_s=0.7)).place == "shed"  # 1.2 s beside oak's half
    assert book.admit(announced("c", deadline_s=1.3)).place == "cloud"


def in_cell(site_id: str, cell: str, *, bytes_s: float | None) -> Advert:
    """An advert; bytes a second each way, None where the site knows no link."""
    return Advert(
        site_id=site_id,
        cell=cell,
        cores=1,
        memory_mb=1,
        waiting=0,
        step_s=0.0,
        row_s=0.0,
        link=None
        if bytes_s is None
        else LinkSpeed(rtt_s=0.0, up_bytes_s=bytes_s, down_bytes_s=bytes_s),
        federation="",
        release=0,
    )


def obeying(*rules: Rule) -> Book:
    book = Book(SETTINGS, clock=Clock(), rules=lambda: Rules(rules=rules))
    book.staff(HERE)
    return book


@pytest.mark.parametrize("advertises", [True, False])
def test_a_bound_holds_where_the_site_itself_knows_no_link(advertises: bool) -> None:
    book = obeying(Rule(kind="at_most", site="elm", value=400.0))  # 50 bytes/s
    book.advertise(in_cell("oak", "valley", bytes_s=1000))
    if advertises:
        book.advertise(in_cell("elm", "valley", bytes_s=None))
    verdict = book.admit(replace(announced("a", deadline_s=9.0), cell="valley"))
    assert verdict.expected_s == pytest.approx(0.6 + 2 + 2)  # 100 bytes each way


def test_a_rule_where_no_link_is_known_changes_nothing() -> None:
    book = obeying(Rule(kind="at_least", site="elm", value=400.0))
    assert book.admit(announced("a", deadline_s=9.0)).expected_s == pytest.approx(0.6)
    book.release("a")
    book.advertise(in_cell("elm", "elm", bytes_s=1000))
    assert book.admit(announced("b", deadline_s=9.0)).expected_s == pytest.approx(0.6 + 0.2)


def test_what_was_kept_for_a_site_is_free_where_it_has_left() -> None:
    book = obeying(Rule(kind="at_least", site="ash", value=7600.0))  # 950 bytes/s
    for site in ("ash", "elm"):
        book.advertise(in_cell(site, "valley", bytes_s=1000))
    question = replace(announced("a", deadline_s=9.0), cell="valley")
    assert book.admit(question).expected_s == pytest.approx(0.6 + 2 + 2)  # 50 bytes/s are left
    book.release("a")
    book.advertise(in_cell("ash", "hill", bytes_s=1000))
    assert book.admit(question).expected_s == pytest.approx(0.6 + 0.1 + 0.1)


def test_who_is_denied_the_cloud_gets_no_place() -> None:
    book = obeying(Rule(kind="deny", site="elm", value=1.0))
    with pytest.raises(GenerationError, match="filter") as refused:
        book.admit(announced("a"))
    assert refused.value.status == "PERMISSION_DENIED"
    assert book.admit(replace(announced("a"), site_id="oak")).place == "cloud"


def test_what_others_forecast_is_kept_from_loose_deadlines_alone() -> None:
    share = replace(SETTINGS, orchestration=replace(SETTINGS.orchestration, forecast_share=0.5))
    book = Book(share, clock=Clock())
    book.staff(HERE)
    oak = Advert(
        site_id="oak",
        cell="oak",
        cores=1,
        memory_mb=1,
        waiting=0,
        step_s=0.0,
        row_s=0.0,
        link=None,
        federation="",
        release=0,
        forecast_per_s=1000.0,  # far more than there is: half is kept, not all
    )
    # 0.6 s alone: from 1.8 s on a deadline is loose
    expected = []
    for name, deadline_s in (("a", 1.7), ("b", 1.9), ("c", 1.9)):
        expected.append(book.admit(announced(name, deadline_s=deadline_s)).expected_s)
        book.release(name)
        if name == "a":
            book.advertise(oak)
        elif name == "b":
            book.advertise(replace(oak, forecast_per_s=0.0))
    assert expected == [pytest.approx(0.6), pytest.approx(1.2), pytest.approx(0.6)]
    book.advertise(oak)
    assert book.admit(announced("d", deadline_s=1.7)).expected_s == pytest.approx(0.6)
