"""The OpenAI-compatible HTTP API: the same at the cloud and at a site's edge service."""
