"""Commands, tests and benchmarks that sentences name are there."""

from __future__ import annotations

import argparse
import re

import pytest

from hatch_mlbundle.cli import build_parser, command_names
from tests.docs.snippets import in_prose, pages
from tests.projects import REPOSITORY

COMMANDS = sorted({(page, code) for page, code in in_prose() if re.match(r"mlbundle [a-z-]", code)})


def options_of(name: str) -> set[str]:
    (subparsers,) = (each for each in build_parser(name)._actions if isinstance(each, argparse._SubParsersAction))
    return {option for action in subparsers.choices[name]._actions for option in action.option_strings}


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_a_command_in_a_sentence_is_one(page: str, command: str) -> None:
    words = command.split()
    if words[1].startswith("-"):
        assert words[1] in ("--help", "--version")
        return
    assert words[1] in command_names()
    own = words[2 : words.index("--")] if "--" in words else words[2:]
    assert {word for word in own if re.fullmatch(r"--?[a-zA-Z-]+", word)} <= options_of(words[1])


def test_tests_and_benchmarks_that_are_named_are_there() -> None:
    texts = {page: text for page, text in pages().items() if not page.startswith("examples/")}  # which have tests of their own
    named = {(page, each) for page, text in texts.items() for each in re.findall(r"(?<![\w/])(?:tests|benchmarks)/[\w/]+\.py\b", text)}
    assert len(named) > 20
    assert sorted(each for each in named if not (REPOSITORY / each[1]).is_file()) == []
