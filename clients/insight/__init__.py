"""The by-products of the edge model: intents and trends, and what is done with them."""
