"""How a request's seconds are parted among the site, the link and the cloud, by hand."""

from dataclasses import replace

import pytest

from clients.asking.ask import Answered
from clients.asking.disclosure import Disclosed
from clients.asking.enrichment import Enriched
from clients.asking.figures import figures_of
from clients.ledger.account import account
from clients.ledger.entry import Entry
from fl.generation import Reply

SYNERGY = Answered(
    card="",
    short="a",
    enriched=Enriched(text="b", new_tokens=5, seconds=0.25, fell_back=False),
    disclosed=Disclosed(text="b", characters=1, redactions={}),
    answer="c",
    reply=Reply(
        text="c",
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        queue_seconds=0.0625,
        prefill_seconds=0.125,
        decode_seconds=0.25,
        model_fingerprint="ab",
    ),
    error=None,
    bytes_up=10,
    bytes_down=20,
    seconds=2.0,
)


def entry_of(answered: Answered) -> Entry:
    return account(
        figures_of(answered),
        request_id="r",
        site_id="elm",
        wanted="auto",
        crossed=None,
        first_seconds=1.0,
        cpu_seconds=0.5,
        short_tokens=1,
        federation="",
        release=0,
    )


def test_what_neither_end_took_is_the_links() -> None:
    entry = entry_of(SYNERGY)
    assert entry.enrich_seconds == 0.25
    assert entry.link_seconds == pytest.approx(2.0 - 0.25 - 0.0625 - 0.125 - 0.25)


def test_an_own_answer_that_was_not_kept_is_the_sites() -> None:
    entry = entry_of(replace(SYNERGY, own_seconds=0.5))
    assert entry.enrich_seconds == 0.75
    assert entry.link_seconds == pytest.approx(2.0 - 0.75 - 0.0625 - 0.125 - 0.25)


def test_an_own_answer_takes_no_link_and_layers_are_not_the_links() -> None:
    own = entry_of(replace(SYNERGY, mode="edge"))
    assert (own.enrich_seconds, own.link_seconds, own.decode_seconds) == (0.5, 0.0, 0.0)
    split = entry_of(replace(SYNERGY, mode="split", layers_seconds=1.0))
    assert split.link_seconds == pytest.approx(2.0 - 0.25 - 1.0 - 0.0625 - 0.125 - 0.25)
