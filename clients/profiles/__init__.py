"""What a site knows of the people who ask there; it stays on the site's own disk."""
