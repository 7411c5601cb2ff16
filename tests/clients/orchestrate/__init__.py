"""Tests of clients/orchestrate."""
