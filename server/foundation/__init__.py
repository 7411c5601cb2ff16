"""Makes small base models from a public corpus where no hub is reachable."""
