"""Sentence embeddings by MiniLM, on torch."""
