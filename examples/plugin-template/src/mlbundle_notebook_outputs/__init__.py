"""Optimizer for hatch-mlbundle that takes the outputs out of Jupyter notebooks."""

__version__ = "0.1.0"
