"""What a site can do by itself, with an edge model of this process."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from clients.asking.enrichment import Enriched, enrich
from clients.asking.modes import Here, OwnAnswer
from clients.profiles.visit import Visit
from clients.workflow.deadline import Deadline
from fl.adapter import Adapter, initial_adapter
from fl.base_model import base_folder
from fl.prompt_format import cloud_prompt
from fl.settings import Settings
from fl.sharing import part_spec

if TYPE_CHECKING:
    from clients.edge_model import EdgeModel
    from clients.splitting.lower_layers import LowerLayers
    from clients.writing import Written

MOST_TOGETHER = 16  # prompts in one batch


def answers_alone(
    model: "EdgeModel",
    settings: Settings,
    prompts: Sequence[str],
    *,
    between: Callable[[], object] | None = None,
) -> list["Written"]:
    """The edge model's own answers to enriched prompts, MOST_TOGETHER at a time.

    `between` is called between tokens; what it raises gives the writing up.
    """
    plain, most = nothing_added(model), settings.asking.answer_tokens
    lines = [model.writer.line(cloud_prompt(p), plain, max_new_tokens=most) for p in prompts]
    at = range(0, len(lines), MOST_TOGETHER)
    batches = (lines[i : i + MOST_TOGETHER] for i in at)
    return [w for batch in batches for w in model.writer.write(batch, between=between)]


def nothing_added(model: "EdgeModel") -> Adapter:
    """An adapter that changes nothing: own answers are the base's, adapters learn to enrich."""
    return initial_adapter(part_spec(model.spec, 1), model.base.layers, seed=0)


def alone(
    model: "EdgeModel", settings: Settings, card: Callable[[], str], visit: Visit | None = None
) -> Here:
    """The site's part with this model, whose adapter is set; `card` is of the moment.

    `visit` is whose request it is, where somebody's.
    """

    def enriched(card: str, short: str, deadline: Deadline) -> Enriched:
        most = settings.asking.enriched_tokens
        found = enrich(model, card, short, most, between=deadline.check)
        if visit is not None:
            visit.remember(found.text)
        return found

    def answer(enriched: str, deadline: Deadline) -> OwnAnswer:
        started = perf_counter()
        (written,) = answers_alone(model, settings, [enriched], between=deadline.check)
        tokens = len(model.token_ids(cloud_prompt(enriched)))
        return OwnAnswer(
            written=written,
            tokens=tokens,
            seconds=perf_counter() - started,
            limit=settings.asking.answer_tokens,
        )

    return Here(
        card=card,
        enrich=enriched,
        answer=answer,
        lower=lambda: lower_layers(settings),
        fingerprint=model.base.fingerprint,
    )


def lower_layers(settings: Settings) -> "LowerLayers":
    """The first layers of the cloud's model, loaded at the first split.

    Raises BaseModelError where this machine has no copy of it, SettingsError for a bad cut.
    """
    from clients.splitting.lower_layers import layers_that_fit

    folder = base_folder(settings, "cloud")
    layers = settings.split.layers or layers_that_fit(folder, settings.split.memory_mb)
    return _loaded(folder, layers)


@lru_cache(maxsize=1)
def _loaded(folder: Path, layers: int) -> "LowerLayers":
    from clients.splitting.lower_layers import LowerLayers

    return LowerLayers(folder, layers)
