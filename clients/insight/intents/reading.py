"""Reading intents: the edge model chooses one of the schema's, then copies its slots.

The choice is among the schema's words alone (clients.weighing), so that its probability is a
confidence; the slots are written under a grammar (SlotGrammar). Whatever the model prefers, the
answer is valid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clients.edge_model import EdgeModel
from clients.insight.choices import Options
from clients.insight.intents.grammar import SlotGrammar, one_line, parse_slots
from clients.insight.intents.schema import Intent, Schema, Slots
from clients.insight.intents.vocabulary import Vocabulary
from fl.adapter import Adapter
from fl.prompt_format import completion, task_prompt
from fl.tasks import INTENT

WIDTH = 8  # of the beam through the intents' words
SLOT_TOKENS = 128  # new tokens of all slots together, at the most

Between = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the model makes of one text before any threshold."""

    best: str  # most probable intent of all, which may be the out-of-scope one
    inside: str  # most probable of the others
    confidence: float  # in `inside`
    outside: float  # probability of being out of scope

    def name(self, schema: Schema, threshold: float) -> str:
        """The intent, or the out-of-scope one below the threshold."""
        return self.best if self.confidence >= threshold else schema.out_of_scope


class IntentReader:
    """A model and a schema. One thread at a time, as the model."""

    def __init__(self, model: EdgeModel, schema: Schema) -> None:
        """Raises BaseModelError where the model's tokenizer is not of bytes."""
        self._model, self.schema = model, schema
        self._vocabulary = Vocabulary(model.tokenizer)
        # What ends an intent's words tells "create flow" from "create flow and apply filter".
        self._options = Options(
            [schema.words(name) for name in schema.names],
            model_ids=model.token_ids,
            end_id=self._vocabulary.newline if schema.has_slots else model.end_id,
        )

    def read(
        self,
        adapter: Adapter,
        texts: Sequence[str],
        *,
        threshold: float,
        between: Between | None = None,
    ) -> list[Intent]:
        """The intent of each text. Raises AdapterError where the adapter does not fit."""
        lines = [one_line(text) for text in texts]
        judged = self.judge(adapter, lines, between=between)
        names = [one.name(self.schema, threshold) for one in judged]
        slots = self.slots(adapter, lines, names, between=between)
        return [
            Intent(
                intent=name,
                slots=own,
                confidence=one.outside if name == self.schema.out_of_scope else one.confidence,
            )
            for name, own, one in zip(names, slots, judged, strict=True)
        ]

    def judge(
        self, adapter: Adapter, texts: Sequence[str], *, between: Between | None = None
    ) -> list[Judged]:
        """Which intent each line has; out of scope where the model says so."""
        prompts = [task_prompt(INTENT, "", text) for text in texts]
        weighed = self._model.writer.weigh(
            prompts, adapter, self._options, width=WIDTH, between=between
        )
        return [self._judged(found) for found in weighed]

    def slots(
        self,
        adapter: Adapter,
        texts: Sequence[str],
        intents: Sequence[str],
        *,
        between: Between | None = None,
    ) -> list[Slots]:
        """The slots of each line, whose intent is given."""
        found: list[Slots] = [()] * len(texts)
        asked = [i for i, name in enumerate(intents) if self.schema.slots_of(name)]
        limit = min(SLOT_TOKENS, self._model.positions // 2)
        lines = [
            self._model.writer.line(
                task_prompt(INTENT, "", texts[i]) + completion(self.schema.words(intents[i])),
                adapter,
                max_new_tokens=limit,
                grammar=self._grammar(texts[i], intents[i], limit),
            )
            for i in asked
        ]
        for i, written in zip(asked, self._model.writer.write(lines, between=between), strict=True):
            found[i] = parse_slots(written.text, self.schema.slots_of(intents[i]))
        return found

    def _grammar(self, text: str, intent: str, limit: int) -> SlotGrammar:
        return SlotGrammar(
            text,
            self.schema.slots_of(intent),
            vocabulary=self._vocabulary,
            model_ids=self._model.token_ids,
            end_id=self._model.end_id,
            limit=limit,
            most=self.schema.most_slots,
            repeats=self.schema.repeats,
        )

    def _judged(self, found: Sequence[tuple[int, float]]) -> Judged:
        names = self.schema.names
        shares = [(names[index], min(1.0, math.exp(log_p))) for index, log_p in found]
        inside = [pair for pair in shares if pair[0] != self.schema.out_of_scope]
        outside = [share for name, share in shares if name == self.schema.out_of_scope]
        name, share = inside[0] if inside else (next(iter(self.schema.intents)), 0.0)
        return Judged(
            best=shares[0][0],
            inside=name,
            confidence=share,
            outside=outside[0] if outside else 0.0,  # less than all that the beam kept
        )


def read_intents(
    model: EdgeModel, adapter: Adapter, texts: Sequence[str], schema: Schema, threshold: float
) -> list[Intent]:
    """The intent of each text; make an IntentReader where this is asked for often."""
    return IntentReader(model, schema).read(adapter, texts, threshold=threshold)
