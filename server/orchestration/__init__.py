"""Who may come to the cloud when, and what everybody can do."""
