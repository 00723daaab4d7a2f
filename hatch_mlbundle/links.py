"""The symbolic links of a bundle: where they lead, and how one is written."""

from __future__ import annotations

from posixpath import dirname, join, normpath, relpath

from .model import Bundle, File

_MOST = 40
"""Links that are followed one after the other before a loop is taken for one (Linux, path_resolution(7))."""


def target_of(file: File) -> str:
    """Return where a link points, as a path in the bundle; one that leaves the bundle begins with `..`.

    An absolute one counts from the bundle's root: that is what it means in a container image, and elsewhere it leads to no file.
    """
    return normpath(join(dirname(file.path), file.link or "")).lstrip("/")


def resolve(bundle: Bundle, path: str) -> File | None:
    """Return the file that a path leads to, through links to files and folders; None where it leads to no file of the bundle."""
    for _ in range(_MOST):
        file = bundle.get(path)
        if file is not None and file.link is None:
            return file
        step = target_of(file) if file is not None else _through_folder(bundle, path)
        if step is None:
            return None
        path = step
    return None


def link_to(bundle: Bundle, path: str) -> str | None:
    """Return the path of a link that leads to the file at a path, None where none does."""
    links = (file.path for file in bundle.values() if file.link is not None)
    return next((link for link in links if (end := resolve(bundle, link)) and end.path == path), None)


def relative_target(path: str, target: str) -> str:
    """Return how a link at `path` is written that leads to `target`."""
    return relpath(target, dirname(path) or ".")


def _through_folder(bundle: Bundle, path: str) -> str | None:
    folder = dirname(path)
    while folder.strip("/"):
        file = bundle.get(folder)
        if file is not None:
            return normpath(join(target_of(file), path[len(folder) + 1 :])) if file.link is not None else None
        folder = dirname(folder)
    return None
