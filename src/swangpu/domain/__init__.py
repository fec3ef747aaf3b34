"""The nouns: frozen dataclasses of the standard library, units in the names."""
