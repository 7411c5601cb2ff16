"""The rounds of a federation as people want to look at them: Markdown and a picture."""
