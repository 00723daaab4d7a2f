"""Sentence embeddings by MiniLM, on onnxruntime."""
