"""How everything is right now, for people."""
