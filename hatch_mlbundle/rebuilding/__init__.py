"""Build a project twice in surroundings that differ in everything that must not matter, and find the first difference."""
