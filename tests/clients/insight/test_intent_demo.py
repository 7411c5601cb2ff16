"""Demo books of network intents: valid, the same for a seed, different from place to place."""

import random
from pathlib import Path

from clients.insight.books import read_task_book, write_task_books
from fl.demo_world.network_requests import draw_habits, draw_requests
from fl.settings import load
from fl.site_list import book_path, federated_sites


def test_demo_books_are_read_by_their_schema_and_follow_from_the_seed(tmp_path: Path) -> None:
    settings = load(["task=intent", f"var={tmp_path}", "sites=3"])
    written = list(write_task_books(settings))
    before = [one.path.read_bytes() for one in written]
    assert [one.train for one in written] == [600, 360, 240]
    for site in federated_sites(settings):
        book = read_task_book(settings, site)
        assert book_path(settings, site).parent.name == "intent"
        assert len(book.heldout) == 48
        assert not {r.short for r in book.train} & {r.short for r in book.heldout}
    list(write_task_books(settings))
    assert [one.path.read_bytes() for one in written] == before


def test_places_want_things_in_other_shares_and_name_hosts_otherwise() -> None:
    one, other = (draw_habits(place, seed=0) for place in ("Thorn Hill", "Eden Port"))
    assert set(one.hosts) != set(other.hosts)
    assert one.weights != other.weights
    requests = draw_requests(one, random.Random(1), 400, seen=set())
    outside = sum(request.intent == "out_of_scope" for request in requests)
    assert 0.08 < outside / 400 < 0.22
    assert {"create_flow", "allocate_batch+apply_filter"} <= {r.intent for r in requests}


def test_some_requests_are_what_act_can_carry_out() -> None:
    requests = draw_requests(draw_habits("Thorn Hill", seed=0), random.Random(1), 400, seen=set())
    inside = [request for request in requests if request.intent != "out_of_scope"]
    to_cloud = [r for r in inside if dict(r.slots).get("target") in ("cloud", "the cloud")]
    assert 0.2 < len(to_cloud) / len(inside) < 0.5
    assert all(value in request.text for request in to_cloud for _, value in request.slots)
