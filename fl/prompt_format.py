"""How a prompt is written down for the two models, in plain text that any tokenizer can read.

edge:   Card: <place card>\nRequest: <short prompt>\nEnriched:  ->  " <enriched prompt>" EOS
cloud:  Request: <enriched prompt>\nAnswer:                     ->  " <answer>" EOS
talk:   Request: <first>\nAnswer: <answer>\nRequest: <second>\nAnswer:
intent: Request: <text>\nIntent:        ->  " <intent>\n<slot>: <value>\n..." EOS
trend:  <counts>\nNext:                 ->  " <letters of the next counts>" EOS
"""

from collections.abc import Mapping, Sequence

from fl.generation import Turn
from fl.tasks import COMPLETE, INTENT


def render_card(facts: Mapping[str, str]) -> str:
    """One line of `key value` pairs in the given order.

    No colon stands between them: a small model copies what follows a word it has just said.
    """
    return "; ".join(f"{key} {value}" for key, value in facts.items())


def join_cards(*cards: str) -> str:
    """Rendered cards as one; empty ones leave no trace."""
    return "; ".join(filter(None, cards))


def edge_prompt(card: str, short: str) -> str:
    """The edge model's prompt for a short prompt under a place card (NetGPT: P_con and I)."""
    return f"Card: {card}\nRequest: {short}\nEnriched:"


def task_prompt(task: str, card: str, short: str) -> str:
    """The edge model's prompt of a task (fl.tasks). By-products have no card."""
    if task == COMPLETE:
        return edge_prompt(card, short)
    return f"Request: {short}\nIntent:" if task == INTENT else f"{short}\nNext:"


def cloud_prompt(request: str) -> str:
    """The cloud model's prompt for whatever arrived from a site."""
    return f"Request: {request}\nAnswer:"


def conversation(history: Sequence[Turn], prompt: str) -> str:
    """The cloud model's prompt for `prompt` after what was said before it, oldest first.

    What the system said goes first, wherever it stood: the model knows no format for it.
    """
    told = [turn.content for turn in history if turn.role == "system"]
    marks = {"user": "Request", "assistant": "Answer"}
    turns = [f"{marks[turn.role]}: {turn.content}" for turn in history if turn.role in marks]
    return "\n".join([*told, *turns, cloud_prompt(prompt)])


def completion(text: str) -> str:
    """The text after a prompt, led by one blank; the caller adds the end mark."""
    return f" {text}"
