"""Run PyInstaller: what it is to make, and what it says while it does."""
