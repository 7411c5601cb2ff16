"""What travels between sites and cloud, how it is combined and how it is written (numpy only)."""
