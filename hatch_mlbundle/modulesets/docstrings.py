"""Who reads docstrings while a program runs: the words by which code does, and the packages that show those of what they are given."""

from __future__ import annotations

DOCSTRING = "__doc__"
"""The attribute that holds a docstring."""

READING_CALLS = frozenset({"getdoc", "cleandoc", "getcomments", "docopt", "getsource", "getsourcelines", "findsource", "getblock"})
"""Functions that read docstrings, or the source with them (inspect, docopt)."""

READING_MODULES = frozenset({"docopt", "doctest", "pydoc"})
"""Modules that are there to read docstrings."""

FRAMEWORKS = frozenset(
    {
        "absl",
        "apispec",
        "autogen",
        "celery",
        "click",
        "cmd",
        "cyclopts",
        "dspy",
        "docopt",
        "fastapi",
        "fastmcp",
        "fire",
        "flasgger",
        "flask_restx",
        "gradio",
        "graphene",
        "instructor",
        "invoke",
        "langchain",
        "langchain_core",
        "langgraph",
        "llama_index",
        "luigi",
        "marshmallow",
        "mcp",
        "nose",
        "openai_agents",
        "plac",
        "ply",
        "prefect",
        "pydantic",
        "pydantic_ai",
        "rest_framework",
        "semantic_kernel",
        "smolagents",
        "spark_parser",
        "strawberry",
        "traitlets",
        "typer",
    }
)
"""Packages that show the docstrings of what they are given, or run by them: help of commands, schemas, tools and prompts, grammars."""
