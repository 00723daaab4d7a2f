"""What the worker tells in one line."""

from __future__ import annotations


class RefusedError(Exception):
    """The model, its weights or the project's own code is not as it is needed; the message is one line."""


class UnsoundError(Exception):
    """What was made does not do what the original does."""


def innermost(error: BaseException) -> str:
    """Return the first line of the error that caused all others: exporters wrap theirs in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {told}"[:400]
