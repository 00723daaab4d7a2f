"""Make this template yours: `python rename.py source_maps` gives distribution, package, optimizer and class that name.

`notebook_outputs` becomes `source_maps` wherever it stands, `notebook-outputs` `source-maps`, `NotebookOutputs`
`SourceMaps`. The script is gone afterwards.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

OLD = "notebook_outputs"
ROOT = Path(__file__).parent
SKIPPED = {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", "dist"}


def spellings(name: str) -> list[str]:
    """Return a name with underscores, with hyphens, and as a class."""
    return [name, name.replace("_", "-"), "".join(part.capitalize() for part in name.split("_"))]


def main(name: str) -> str | None:
    """Rename everything; return what is wrong with the name, if anything is."""
    if not re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return f"{name!r} is no lower-case identifier, like 'source_maps'"
    Path(__file__).unlink()
    files = [path for path in sorted(ROOT.rglob("*")) if path.is_file() and not SKIPPED & set(path.parts)]
    for path in files:
        text = path.read_text(encoding="utf-8")
        for old, new in zip(spellings(OLD), spellings(name), strict=True):
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    for path in sorted(ROOT.rglob(f"*{OLD}*"), reverse=True):  # what is deepest goes first
        path.rename(path.with_name(path.name.replace(OLD, name)))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else __doc__)
