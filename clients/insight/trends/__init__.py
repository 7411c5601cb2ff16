"""Trends: the next of a series of counts, read as text by the edge model."""
