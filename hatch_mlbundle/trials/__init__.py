"""Trials: a user's command run within bounds, what it did, and whether that is the same as before."""
