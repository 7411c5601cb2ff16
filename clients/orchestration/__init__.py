"""A site among others: what it tells the cloud of itself, and how it asks to be admitted."""
