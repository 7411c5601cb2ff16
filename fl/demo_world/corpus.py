"""The public corpus the small base models are made from, drawn from the demo world or a file."""

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from fl.demo_world.intents import PUBLIC_INTENTS
from fl.demo_world.knowhow import EDGE_KNOWS
from fl.demo_world.people import NAME
from fl.demo_world.places import draw_public_place
from fl.demo_world.requests import (
    DemoRequest,
    dictation_request,
    listing_request,
    public_request,
)
from fl.errors import SettingsError
from fl.prompt_format import cloud_prompt, completion, edge_prompt, render_card
from fl.settings import FoundationSettings, resolve

Side = Literal["edge", "cloud"]
KINDS = (public_request, listing_request, dictation_request)
SHARES = (0.5, 0.35, 0.15)
EDGE_ANSWERS = 0.25  # of the edge's records are answers, as the cloud's are
MASK = "[person]"  # what a site writes for what it does not disclose of a person
DIGESTED = 2000  # pairs
UNKNOWN_PLACE_ANSWER = "I do not know your place. Tell me where you are and when you want it."


def corpus(foundation: FoundationSettings, side: Side) -> Iterator[tuple[str, str]]:
    """Pairs (prompt, completion) ready for training, deterministic from foundation.seed."""
    if foundation.corpus != "demo" and side == "edge":
        yield from _file_pairs(foundation.corpus)
        return
    rng = random.Random(f"public {side} {foundation.seed}")
    records = foundation.records if side == "edge" else foundation.cloud_records
    for _ in range(records):
        draw = rng.choices(KINDS, SHARES)[0]
        request = draw(draw_public_place(rng), rng)
        if side == "edge" and rng.random() < EDGE_ANSWERS:
            known = public_request(draw_public_place(rng), rng, PUBLIC_INTENTS[:EDGE_KNOWS])
            yield cloud_prompt(known.enriched), completion(known.answer)
        elif side == "edge":
            yield (
                edge_prompt(render_card(request.card), request.short),
                completion(request.enriched),
            )
        elif rng.random() < 0.1:  # a bare short prompt: the cloud knows no place
            yield cloud_prompt(request.short), completion(UNKNOWN_PLACE_ANSWER)
        else:
            yield cloud_prompt(_as_disclosed(request, rng)), completion(request.answer)


def _as_disclosed(request: DemoRequest, rng: random.Random) -> str:
    """The enriched prompt as it leaves a site: most keep the person's name to themselves."""
    name = request.person.name
    if not name or rng.random() < 0.2:
        return request.enriched
    return request.enriched.replace(f", {NAME} {name}", f", {NAME} {MASK}")


def corpus_digest(foundation: FoundationSettings, side: Side) -> str:
    """sha256 that changes with the corpus: over a file's bytes, or over the demo world's beginning.

    The demo corpus follows from its grammar, its seed and its length, so DIGESTED pairs tell all.
    """
    if foundation.corpus != "demo" and side == "edge":
        return hashlib.sha256(_existing(foundation.corpus).read_bytes()).hexdigest()
    length = foundation.records if side == "edge" else foundation.cloud_records
    sha = hashlib.sha256(f"{length}".encode())
    for prompt, text in islice(corpus(foundation, side), DIGESTED):
        sha.update(f"{prompt}\0{text}\0".encode())
    return sha.hexdigest()


def _existing(path: str) -> Path:
    file = resolve(path)
    if not file.is_file():
        raise SettingsError(f"foundation.corpus names {file}, which does not exist.")
    return file


def _file_pairs(path: str) -> Iterator[tuple[str, str]]:
    """A JSONL with prompt, completion and optional context or location (the card)."""
    file = _existing(path)
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                card = str(record.get("context") or record.get("location") or "")
                wanted = record.get("kind", "confirm") == "confirm"  # as in a site's book
                if wanted and record.get("split", "train") == "train":
                    yield edge_prompt(card, record["prompt"]), completion(record["completion"])
            except (json.JSONDecodeError, KeyError, AttributeError) as error:
                raise SettingsError(
                    f"{file}, line {number}: expected JSON with prompt and completion "
                    f"({type(error).__name__})."
                ) from None
