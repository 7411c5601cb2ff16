"""What management has set of the network, beside the settings."""
