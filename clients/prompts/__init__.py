"""A site's prompt book: records, reading and checking, and the demo books."""
