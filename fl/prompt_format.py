"""How a prompt is written down for the two models, in plain text that any tokenizer can read.

edge:   Card: <place card>\nRequest: <short prompt>\nEnriched:  ->  " <enriched prompt>" EOS
cloud:  Request: <enriched prompt>\nAnswer:                     ->  " <answer>" EOS
"""

from collections.abc import Mapping


def render_card(facts: Mapping[str, str]) -> str:
    """One line of `key value` pairs in the given order.

    No colon stands between them: a small model copies what follows a word it has just said.
    """
    return "; ".join(f"{key} {value}" for key, value in facts.items())


def edge_prompt(card: str, short: str) -> str:
    """The edge model's prompt for a short prompt under a place card (NetGPT: P_con and I)."""
    return f"Card: {card}\nRequest: {short}\nEnriched:"


def cloud_prompt(request: str) -> str:
    """The cloud model's prompt for whatever arrived from a site."""
    return f"Request: {request}\nAnswer:"


def completion(text: str) -> str:
    """The text after a prompt, led by one blank; the caller adds the end mark."""
    return f" {text}"
