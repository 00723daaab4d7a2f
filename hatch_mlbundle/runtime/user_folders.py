"""Folders of the user's own: for caches, where the XDG specification, Apple and Microsoft have it, and among temporary files."""

from __future__ import annotations

import contextlib
import os
import stat
import sys


def user_cache() -> str:
    """Return the user's cache folder as an absolute path; empty where the environment does not tell of a home."""
    home = os.environ.get("USERPROFILE" if os.name == "nt" else "HOME", "")
    if os.name == "nt":
        chosen, below = os.environ.get("LOCALAPPDATA", ""), os.path.join("AppData", "Local")
    elif sys.platform == "darwin":
        chosen, below = "", os.path.join("Library", "Caches")
    else:
        chosen, below = os.environ.get("XDG_CACHE_HOME", ""), ".cache"
    found = chosen if os.path.isabs(chosen) else os.path.join(home, below)
    return found if os.path.isabs(found) else ""


def temporary_folder(name: str) -> str:
    """Return the path of the user's folder of a name among temporary files; empty where there can be none."""
    import tempfile

    try:
        folder = os.path.abspath(tempfile.gettempdir())
    except FileNotFoundError:
        return ""
    user = f"-{os.geteuid()}" if hasattr(os, "geteuid") else ""  # Windows has a temporary folder for each user
    return os.path.join(folder, f"{name}{user}")


def is_private(path: str) -> bool:
    """Say whether a path is a folder, no link to one, that is this user's and that nobody else can reach into. Raises OSError."""
    info = os.lstat(path)
    is_ours = os.name == "nt" or (info.st_uid == os.geteuid() and not info.st_mode & 0o077)
    return stat.S_ISDIR(info.st_mode) and is_ours


def make_private(path: str) -> None:
    """Make a folder that is private; raises OSError where it is there and is not."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not is_private(path):
        raise PermissionError("it is another user's")
