"""The cloud: foundation models, the federation's rounds and releases, and generation."""
