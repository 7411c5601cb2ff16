"""What every request at a site cost, kept by the site: numbers and names, never a text."""
