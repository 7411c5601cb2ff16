"""What intents and forecasts are used for: management actions, a cache, pre-warming."""
