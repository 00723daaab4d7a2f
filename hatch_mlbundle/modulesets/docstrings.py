"""Who reads docstrings while a program runs: the words by which code does, and the packages that show those of what they are given."""

from __future__ import annotations

import re
from collections.abc import Iterable

DOCSTRING = "__doc__"
"""The attribute that holds a docstring."""

READING_CALLS = frozenset({"getdoc", "cleandoc", "getcomments", "docopt", "getsource", "getsourcelines", "findsource", "getblock"})
"""Functions that read docstrings, or the source with them (inspect, docopt)."""

READING_MODULES = frozenset({"docopt", "doctest", "pydoc"})
"""Modules that are there to read docstrings."""

READS = re.compile(
    rb"__doc__|\b(?:getdoc|cleandoc|getsource|getcomments|findsource|getblock)"
    rb"|\b(?:import|from)\b[^\r\n]*\b(?:docopt|doctest|pydoc)\b"
)
"""What stands in every source that reads docstrings, and in some that do not."""

_FRAMEWORKS = """
absl apispec autogen celery click cmd cyclopts dspy docopt fastapi fastmcp fire flasgger flask_restx gradio graphene instructor invoke
langchain langchain_core langgraph llama_index luigi marshmallow mcp nose openai_agents plac ply prefect pydantic pydantic_ai rest_framework
semantic_kernel smolagents spark_parser strawberry traitlets typer
"""
FRAMEWORKS = frozenset(_FRAMEWORKS.split())
"""Packages that show the docstrings of what they are given, or run by them: help of commands, schemas, tools and prompts, grammars."""

_FORMAT = re.compile(r"\{[^{}]*\b__doc__|%\(__doc__\)")
"""What `str.format` and `%` put a docstring in for."""


def is_read_by(text: str) -> bool:
    """Say whether a string names the attribute: for `getattr`, or in a format."""
    return text == DOCSTRING or _FORMAT.search(text) is not None


def why_shown(package: str, imports: Iterable[str]) -> str | None:
    """Return why docstrings of a module stay, going by its own top-level package and those that it imports, or None."""
    shown = sorted(FRAMEWORKS.intersection((package, *imports)))
    return f"{shown[0]} may show or parse them" if shown else None
