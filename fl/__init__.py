"""What travels between sites and cloud, how it is combined and written: no torch, no models."""
