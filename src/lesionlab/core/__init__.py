"""The nouns that every stage speaks in."""
