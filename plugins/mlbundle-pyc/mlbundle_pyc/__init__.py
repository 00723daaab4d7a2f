"""Make Python code small as bytecode: optimizers for hatch-mlbundle."""

__version__ = "0.1.0"
