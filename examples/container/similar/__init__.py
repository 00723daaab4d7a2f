"""How similar sentences are, by MiniLM."""
