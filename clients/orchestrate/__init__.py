"""A bursty trace played against real processes and as a model, under every admission."""
