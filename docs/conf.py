"""How Sphinx makes the site: its source is the whole repository, so that links lead to the same files as on a forge."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parents[1]))

from hatch_mlbundle import __version__ as release

project = "hatch-mlbundle"
version = release
author = "the authors of hatch-mlbundle"
project_copyright = author

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "examples/*/README.md", "plugins/*/README.md", "CHANGELOG.md"]
exclude_patterns = ["**/.*", "build", "dist", "hatch_mlbundle", "tests"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]
"""A changelog has headings of the third level below the second of any release: nothing to warn of."""

html_theme = "furo"
html_title = "hatch-mlbundle"
html_extra_path = ["_site/index.html"]
html_static_path = ["_site/site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "monokai"


def add_toctrees(_: Any, name: str, source: list[str]) -> None:
    """Give each part of the index a table of contents, of the pages that its links lead to: they are listed once, as on a forge."""
    if name == root_doc:
        source[0] = re.sub(r"^## (.*?)\n(.*?)(?=^## |\Z)", _with_toctree, source[0], flags=re.DOTALL | re.MULTILINE)


def _with_toctree(part: re.Match[str]) -> str:
    pages = "\n".join(re.findall(r"\]\(([^)#:]+)\.md\)", part[2]))
    return f"{part[0]}\n```{{toctree}}\n:caption: {part[1]}\n:hidden:\n\n{pages}\n```\n\n"


def mark_options(_: Any, page: nodes.document) -> None:
    """Give tables of options a class: on a narrow screen site.css sets their rows below each other."""
    for head in page.findall(nodes.thead):
        if [entry.astext() for entry in head.findall(nodes.entry)] == ["key", "type", "default", "what it is"]:
            head.parent.parent["classes"].append("options")


def setup(app: Any) -> None:
    """Connect what this site does beside what Sphinx does."""
    app.connect("source-read", add_toctrees)
    app.connect("doctree-read", mark_options)
