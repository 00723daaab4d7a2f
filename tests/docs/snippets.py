"""The fenced blocks of the documentation, in README, docs and the READMEs of examples and plugins, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt

from tests.projects import REPOSITORY

PAGES = ("README.md", "docs/*.md", "examples/*/README.md", "plugins/*/README.md")

SHELLS = ("console", "sh", "make")
"""Languages of blocks with commands: `console` shows prompts and what is printed, `sh` is a script, `make` has some behind tabs."""

OUTPUT = ("", "text")
"""Languages of blocks that are neither: what a program prints."""

_GENERATED = re.compile(r"<!-- [\w-]+ -->\n.*?<!-- end -->", flags=re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A fenced block: its page, the line it begins on, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, by which lists name it."""
        return self.text.split("\n", 1)[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a block, and the lines that the block shows below it."""

    text: str
    shown: tuple[str, ...] = ()

    @property
    def simple(self) -> tuple[tuple[str, ...], ...]:
        """The simple commands that `&&` joins, each as its words."""
        words = shlex.shlex(self.text, posix=True, punctuation_chars=";&|")
        words.whitespace_split = True
        joined: list[list[str]] = [[]]
        for word in words:
            if word == "&&":
                joined.append([])
            else:
                joined[-1].append(word)
        return tuple(tuple(each) for each in joined if each)


def pages() -> dict[str, str]:
    """Return the text of each page, without what docs/update.py makes: tests/test_documented.py compares that with the code."""
    paths = [path for pattern in PAGES for path in sorted(REPOSITORY.glob(pattern))]
    texts = {path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return {page: _GENERATED.sub(lambda match: "\n" * match[0].count("\n"), text) for page, text in texts.items()}


@cache
def snippets() -> tuple[Snippet, ...]:
    """Return every block."""
    return tuple(snippet for page, text in pages().items() for snippet in _snippets(page, text))


def in_prose() -> list[tuple[str, str]]:
    """Return what is set as code within sentences and tables, each with its page."""
    parsed = ((page, MarkdownIt().enable("table").parse(text)) for page, text in pages().items())
    inline = ((page, child) for page, tokens in parsed for token in tokens for child in token.children or [])
    return [(page, child.content) for page, child in inline if child.type == "code_inline"]


def of(*languages: str) -> list[Snippet]:
    """Return the blocks in these languages."""
    return [each for each in snippets() if each.language in languages]


def without(pages: Collection[str], *languages: str) -> list[Snippet]:
    """Return the blocks in these languages but those of some pages."""
    return [each for each in of(*languages) if each.page not in pages]


def commands(snippet: Snippet) -> list[Command]:
    """Return the commands of a block: of a console those behind a prompt, of a script all lines; `\\` and `> ` go on with one."""
    found: list[tuple[list[str], list[str]]] = []
    goes_on = False
    for line in snippet.text.rstrip("\n").split("\n"):
        if snippet.language == "make":
            found += [([line.strip()], [])] if line.startswith("\t") else []
            continue
        if snippet.language == "sh" and not goes_on:
            found.append(([line], []))
        elif line.startswith("$ "):
            found.append(([line[2:]], []))
        elif goes_on or line.startswith("> "):
            found[-1][0].append(line.removeprefix("> "))
        else:
            assert found, f"{snippet}: begins with no command"
            found[-1][1].append(line)
        goes_on = line.endswith("\\") and not found[-1][1]
    return [Command(text="\n".join(lines).replace("\\\n", " "), shown=tuple(shown)) for lines, shown in found if "".join(lines).strip()]


def _snippets(page: str, text: str) -> Iterator[Snippet]:
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block"):
            language = token.info if token.type == "fence" else "(none: indented, not fenced)"
            assert token.map
            yield Snippet(page=page, line=token.map[0] + 1, language=language, text=token.content)


def missing_tests(names: Sequence[str]) -> list[str]:
    """Return those of these names, `FILE` or `FILE::FUNCTION`, of which there is no test."""
    missing = []
    for name in names:
        file, _, function = name.partition("::")
        path = REPOSITORY / file
        if not path.is_file() or (function and f"def {function}(" not in path.read_text(encoding="utf-8")):
            missing.append(name)
    return missing
