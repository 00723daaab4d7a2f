"""Make wheels and frozen bundles of ML applications small, and account for every byte."""

__version__ = "0.1.0"
