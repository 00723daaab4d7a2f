"""Does the result still work? Run it as its user does, find what broke it, and put just that back."""
