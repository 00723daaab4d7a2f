"""Thin layers between build systems and the application."""
