"""A site: its prompt book, its edge model, its learning and its asking. Private text stays here."""
