"""Training a network as a recipe says."""
