"""Optimizers for hatch-mlbundle that need PyTorch. Importing this imports no torch: that happens in a process of its own (worker/)."""

__version__ = "0.1.0"
