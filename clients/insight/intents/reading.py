"""Reading intents: the edge model chooses one of the schema's, then copies its slots.

The choice is among the schema's words alone (clients.weighing), so that its probability is a
confidence; the slots are written under a grammar (SlotGrammar). Whatever the model prefers, the
answer is valid. A text is read whole or refused: of one that is cut, slots would be copied from
where the model has not looked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from clients.edge_model import EdgeModel
from clients.insight.choices import Options
from clients.insight.intents.grammar import SlotGrammar, one_line, parse_slots
from clients.insight.intents.schema import Intent, Schema, Slots, words
from clients.insight.intents.vocabulary import Vocabulary
from fl.adapter import Adapter
from fl.errors import LongTextError
from fl.prompt_format import completion, task_prompt
from fl.tasks import INTENT

WIDTH = 8  # of the beam through the intents' words


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the model makes of one text before any threshold."""

    best: str  # most probable intent of all, which may be the out-of-scope one
    inside: str  # most probable of the others
    confidence: float  # in `inside`

    def name(self, schema: Schema, threshold: float) -> str:
        """The intent, or the out-of-scope one below the threshold."""
        return self.best if self.confidence >= threshold else schema.out_of_scope


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The slots of one text."""

    slots: Slots = field(default=(), repr=False)
    complete: bool = True  # False: there was no room left in which more could be


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

    def fits(self, text: str) -> bool:
        """Can the model read the text whole?"""
        return self._tokens(one_line(text)) <= self._most_tokens

    def check(self, texts: Sequence[str]) -> None:
        """Raise LongTextError for the first text that the model cannot read whole."""
        for index, text in enumerate(texts):
            if (found := self._tokens(one_line(text))) > self._most_tokens:
                raise LongTextError(index, found=found, most=self._most_tokens)

    def read(self, adapter: Adapter, texts: Sequence[str], *, threshold: float) -> list[Intent]:
        """The intent of each text.

        Raises LongTextError before anything is read, AdapterError where the adapter does not fit.
        """
        self.check(texts)
        lines = [one_line(text) for text in texts]
        judged = self.judge(adapter, lines)
        names = [one.name(self.schema, threshold) for one in judged]
        copied = self.slots(adapter, lines, names)
        return [
            Intent(
                intent=name,
                slots=own.slots,
                confidence=(
                    1 - one.confidence if name == self.schema.out_of_scope else one.confidence
                ),
                complete=own.complete,
            )
            for name, own, one in zip(names, copied, judged, strict=True)
        ]

    def judge(self, adapter: Adapter, texts: Sequence[str]) -> list[Judged]:
        """Which intent each line has; out of scope where the model says so. All of them fit."""
        prompts = [task_prompt(INTENT, "", text) for text in texts]
        weighed = self._model.writer.weigh(prompts, adapter, self._options, width=WIDTH)
        return [self._judged(found) for found in weighed]

    def slots(self, adapter: Adapter, texts: Sequence[str], intents: Sequence[str]) -> list[Copied]:
        """The slots of each line, whose intent is given. All lines fit."""
        found = [Copied()] * len(texts)
        asked = [i for i, name in enumerate(intents) if self.schema.slots_of(name)]
        lines, grammars = [], []
        for i in asked:
            prompt = task_prompt(INTENT, "", texts[i]) + completion(self.schema.words(intents[i]))
            room = self._model.positions - len(self._model.token_ids(prompt))
            limit = min(room, self._needed(texts[i], intents[i]))
            grammar = self._grammar(texts[i], intents[i], limit)
            grammars.append(grammar)
            lines.append(
                self._model.writer.line(prompt, adapter, max_new_tokens=limit, grammar=grammar)
            )
        texts_written = self._model.writer.write(lines)
        for i, grammar, written in zip(asked, grammars, texts_written, strict=True):
            found[i] = Copied(
                slots=parse_slots(written.text, self.schema.slots_of(intents[i])),
                complete=not grammar.short,
            )
        return found

    def _tokens(self, line: str) -> int:
        return len(self._model.token_ids(task_prompt(INTENT, "", line)))

    @property
    def _most_tokens(self) -> int:
        """Of a prompt: behind it stand the words of an intent and what ends them."""
        return self._model.positions - self._options.longest

    def _needed(self, text: str, intent: str) -> int:
        """Tokens that no answer is longer than: no place of the text is copied twice."""
        names = [len(self._model.token_ids(f"{words(s)}:")) for s in self.schema.slots_of(intent)]
        marks = self.schema.most_slots * (max(names) + 2)  # a newline and a blank
        return marks + len(text.encode()) + 1

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
        name, share = inside[0] if inside else (next(iter(self.schema.intents)), 0.0)
        return Judged(best=shares[0][0], inside=name, confidence=share)
