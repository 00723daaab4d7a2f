"""Code that runs inside users' applications: the standard library only, and little of it."""
