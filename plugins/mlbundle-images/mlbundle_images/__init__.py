"""Make pictures small: optimizers for hatch-mlbundle."""

__version__ = "0.1.0"
