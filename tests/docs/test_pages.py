"""Pages lead to each other, on a forge as on the site; each example is built by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import PurePosixPath

from markdown_it import MarkdownIt

from tests.docs.declared import EXAMPLES
from tests.docs.snippets import missing_tests
from tests.projects import REPOSITORY

PAGES = [
    path.relative_to(REPOSITORY).as_posix() for each in ("*.md", "docs/*.md", "*/*/README.md") for path in sorted(REPOSITORY.glob(each))
]


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def links(page: str) -> Iterator[str]:
    """Yield where the links and pictures of a page lead, but those out of the repository."""
    for token in MarkdownIt().enable("table").parse(text_of(page)):
        for child in token.children or []:
            target = child.attrs.get("href") or child.attrs.get("src")
            if target and not re.match(r"[a-z]+:", str(target)):
                yield str(target)


@cache
def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as a forge makes them."""
    found: list[str] = []
    tokens = MarkdownIt().parse(text_of(page))
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            shown = "".join(child.content for child in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def place(page: str, target: str) -> str:
    """Return the page that a link leads to, from the repository's root."""
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / target if target else PurePosixPath(page)).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def test_every_link_leads_somewhere() -> None:
    wrong = []
    for page, link in [(each, link) for each in PAGES for link in links(each)]:
        path, _, anchor = link.partition("#")
        target = place(page, path)
        if not (REPOSITORY / target).exists() or (anchor and anchor not in anchors(target)):
            wrong.append((page, link))
    assert len(PAGES) > 40
    assert wrong == []


def test_every_example_tells_of_itself_and_is_built_by_a_test() -> None:
    folders = [path.name for path in sorted((REPOSITORY / "examples").iterdir()) if path.is_dir()]
    assert [name for name in folders if not (REPOSITORY / "examples" / name / "README.md").is_file()] == []
    assert sorted(EXAMPLES) == folders
    assert missing_tests(list(EXAMPLES.values())) == []
    assert [name for name, test in EXAMPLES.items() if f'"{name}' not in text_of(test.partition("::")[0]).replace("examples/", "")] == []
