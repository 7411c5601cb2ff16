"""The site's part of a split model: its first layers here, the others in the cloud."""
