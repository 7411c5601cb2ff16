"""The laboratory: what did the federation bring? It reads every book of this machine, as no site
and no cloud of a real federation could, and measures all arms on the same held-out prompts.
"""
