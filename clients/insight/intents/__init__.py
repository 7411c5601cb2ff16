"""Intents: a text becomes one of a schema's intents, with slots copied from the text."""
