"""Python blocks of the documentation, run."""

from __future__ import annotations

from typing import Any

from tests.docs.snippets import Snippet

OFFERS = "mlbundle_register_optimizers"


def names_of(snippet: Snippet, **given: Any) -> dict[str, Any]:
    """Run a block and return the names that it leaves; `given` are those that the program around it has."""
    names: dict[str, Any] = {"__name__": "snippet", "__file__": "snippet.py", **given}
    exec(compile(snippet.text, str(snippet), "exec"), names)
    return names
