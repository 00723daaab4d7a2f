"""What was copied from the build context although it belongs to the work on the application, not to the application."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from posixpath import normpath

from hatch_mlbundle.manifest import EditRow

from .evidence import Evidence, Option
from .instructions import copied

_WORK = re.compile(
    r"(?:(?P<top>.*?)/)?(?P<name>\.git|\.hg|\.svn|\.mypy_cache|\.pytest_cache|\.ruff_cache|\.tox|\.nox|\.ipynb_checkpoints|\.idea|\.vscode|\.dvc/cache|tests?|htmlcov)/.+"
)
_MOST = 50
"""Lines of .dockerignore."""
_PLAIN = re.compile(r"[\w./@+=,~ -]*[\w./@+=,~-]")
"""What is nothing else in .dockerignore than itself (docs.docker.com, ".dockerignore files"): no glob, no comment, no exception."""


def context_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what `.dockerignore` keeps out of the image, and of what is sent to the builder."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in evidence.paths:
        layer = evidence.origin(path)
        match = _WORK.fullmatch(path) if copied(evidence.made_by(layer)) and "-packages/" not in path else None
        if match:
            folder = f"{match['top']}/{match['name']}" if match["top"] else match["name"]
            pattern = ignore_pattern(evidence, layer, folder)
            if pattern and (pattern in found or len(found) < _MOST):
                found[pattern].append(path)
    paths = [path for names in found.values() for path in names]
    if freed := evidence.freed(paths):
        yield Option(
            name="dockerignore",
            title="Keep Git, tests and caches out of the context",
            freed=freed,
            pros=("Builds start sooner, and a change in these files no longer makes the layer anew.",),
            cons=("What reads its version from Git while it is built (setuptools-scm) needs it by build argument then.",),
            edits=(EditRow(where=".dockerignore", text="\n".join(sorted(found))),),
        )


def ignore_pattern(evidence: Evidence, layer: int, path: str) -> str | None:
    """Return the line of `.dockerignore` for a file or folder of the layer, None where it did not come from the context or cannot be named.

    Where history does not tell from which folder it was copied, the line is for that name anywhere.
    """
    place = copied(evidence.made_by(layer))
    if place is None:
        return None
    sources, target = place
    within = _below(path, target)
    pattern = f"**/{path.rpartition('/')[2]}"
    if len(sources) == 1 and within is not None and not re.search(r"[*?\[$]|://", sources[0]):
        source = normpath(sources[0])
        is_itself = path in evidence.seen and within in ("", source.rpartition("/")[2])
        pattern = within if source == "." else source if is_itself else f"{source}/{within}"
    return pattern.strip("/") if _PLAIN.fullmatch(pattern.removeprefix("**/")) else None


def _below(path: str, target: str) -> str | None:
    """Return a path relative to where a COPY put things, None where that is elsewhere or depends on the working directory."""
    folder = target.strip("/")
    if not target.startswith("/") or not (path == folder or path.startswith(f"{folder}/") or not folder):
        return None
    return path[len(folder) :].strip("/")
