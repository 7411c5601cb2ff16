"""The demo world keeps its promises: what is private is in no public text, all is deterministic."""

import dataclasses
import random
import re
from itertools import islice

from clients.prompts.synthesis import draw_book
from fl.demo_world.corpus import corpus, corpus_digest
from fl.demo_world.people import person_name, wish_text
from fl.demo_world.places import BOOK_SIZES, PRIVATE_PLACES, draw_private_place
from fl.demo_world.requests import private_request
from fl.prompt_format import render_card
from fl.settings import load
from fl.site_list import demo_site

FOUNDATION = dataclasses.replace(load([]).foundation, records=3000, cloud_records=1000)


def test_nothing_of_a_private_place_is_public() -> None:
    public = "\n".join(p + c for side in ("edge", "cloud") for p, c in corpus(FOUNDATION, side))
    for name in PRIVATE_PLACES:
        place = draw_private_place(name, seed=0)
        assert f"place {name};" not in public
        for venues in place.venues.values():
            assert not [venue for venue in venues if venue in public]
        for local_word in place.nicknames:
            assert f"Request: to the {local_word}" not in public


def test_what_shorthand_means_is_public_only_word_by_word() -> None:
    """The base model has seen the words of `asap` and `send a box`, never beside what they mean."""
    for prompt, _ in corpus(FOUNDATION, "edge"):
        request = prompt.split("Request: ")[1]
        assert " asap" not in request
        assert "send a box" not in request


def test_the_corpus_follows_its_seed() -> None:
    again = dataclasses.replace(FOUNDATION)
    other = dataclasses.replace(FOUNDATION, seed=FOUNDATION.seed + 1)
    assert list(islice(corpus(FOUNDATION, "edge"), 50)) == list(islice(corpus(again, "edge"), 50))
    assert corpus_digest(FOUNDATION, "edge") != corpus_digest(other, "edge")
    longer = dataclasses.replace(FOUNDATION, records=3001)
    assert corpus_digest(FOUNDATION, "edge") != corpus_digest(longer, "edge")


def test_held_out_prompts_need_combining() -> None:
    assert len(PRIVATE_PLACES) == len(BOOK_SIZES) == 9
    train, heldout = draw_book(demo_site(PRIVATE_PLACES[0]), size=200, seed=3)
    cards = {render_card(request.card) for request in train}
    met = {(r.intent, r.card["time"], r.facts[0]) for r in train}
    for request in heldout:
        assert render_card(request.card) not in cards
        assert (request.intent, request.card["time"], request.facts[0]) not in met
    assert len({request.intent for request in train}) >= 12
    assert draw_book(demo_site(PRIVATE_PLACES[0]), size=200, seed=3) == (train, heldout)


def test_enriched_prompts_name_every_fact_and_habit() -> None:
    train, _ = draw_book(demo_site(PRIVATE_PLACES[3]), size=60, seed=1)
    for request in train:
        for phrase in (*request.facts, *request.habits):
            assert phrase in request.enriched
        for fact in request.facts:
            assert fact in render_card(request.card)
        for habit in request.habits:
            assert habit not in render_card(request.card)


def test_people_ask_in_the_corpus_and_in_training_prompts_but_in_no_held_out_one() -> None:
    train, heldout = draw_book(demo_site(PRIVATE_PLACES[1]), size=200, seed=2)
    theirs = [request for request in train if request.person.facts()]
    assert 50 <= len(theirs) <= 90  # 0.35 of 200; seeded
    for request in theirs:
        assert render_card(request.card).endswith(render_card(request.person.facts()))
        assert all(phrase in request.enriched for phrase in request.person.phrases)
    assert not [request for request in heldout if request.person.facts()]
    again = [request for request in theirs if request.person.last]
    assert again
    for request in again:
        assert request.card[request.person.last] == request.facts[0]
        assert not any(word in request.short for word in request.facts)


def test_without_people_nothing_else_of_a_request_changes() -> None:
    """An enriched prompt less its person is what it was before there were people."""
    place = draw_private_place(PRIVATE_PLACES[2], seed=0)
    with_them = [private_request(place, rng, random.Random(5)) for rng in _seeded(60)]
    without = [private_request(place, rng) for rng in _seeded(60)]
    for told, plain in zip(with_them, without, strict=True):
        assert told.enriched.replace(told.person.clause, "") == plain.enriched
        assert {**plain.card, **told.person.facts()} == told.card


def test_the_names_kept_for_measuring_are_in_no_training_text() -> None:
    rng = random.Random(1)
    unseen = {person_name(rng, unseen=True) for _ in range(300)}
    unseen |= {wish_text(rng, unseen=True) for _ in range(300)}
    train, _ = draw_book(demo_site(PRIVATE_PLACES[0]), size=300, seed=0)
    met = {phrase for request in train for phrase in request.person.phrases}
    pairs = (p + c for side in ("edge", "cloud") for p, c in corpus(FOUNDATION, side))
    met |= {told for text in pairs for told in re.findall(r"(?:person|wish) ([^;,.\n]+)", text)}
    assert len(met) > 500
    assert not met & unseen


def _seeded(count: int) -> list[random.Random]:
    return [random.Random(number) for number in range(count)]
