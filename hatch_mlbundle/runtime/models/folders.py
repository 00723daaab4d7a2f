"""Where the store may be: below MLBUNDLE_STORE, or the user's cache folder, or else in a private folder of the temporary one."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ..user_cache import user_cache
from .errors import ModelUnavailableError

STORE = "MLBUNDLE_STORE"
PARTS = ("blobs", "ready", "partial")
"""Folders of a store (store.py)."""


def roots() -> Iterator[str]:
    """Yield the folders that may hold the store, the best first; what is in them can be relied on."""
    chosen = os.environ.get(STORE)
    if chosen:
        yield os.path.abspath(chosen)
        return
    user = user_cache()
    if user:
        yield os.path.join(user, "mlbundle", "models")
    temporary = _temporary()
    if temporary and (not os.path.lexists(temporary) or _is_private(temporary)):
        yield temporary


def writable_root() -> str:
    """Return the first of the folders that can be written, with all parts of a store in it; raises ModelUnavailableError for none."""
    faults = []
    for root in roots():
        try:
            return _prepared(root)
        except OSError as error:
            faults.append(f"{root}: {error.strerror or error}")
    told = ", ".join([*faults, *([] if os.environ.get(STORE) else [f"{_temporary() or 'the temporary folder'} is not this user's own"])])
    raise ModelUnavailableError(f"no store for models can be written ({told}); set {STORE} to a folder that can")


def _prepared(root: str) -> str:
    if root == _temporary():
        with contextlib.suppress(FileExistsError):
            os.mkdir(root, 0o700)
        if not _is_private(root):
            raise PermissionError("it is another user's")
    for part in PARTS:
        os.makedirs(os.path.join(root, part), exist_ok=True)
        if not os.access(os.path.join(root, part), os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
    return root


def _temporary() -> str:
    """Return this user's folder in the temporary one; empty where nothing can be written at all."""
    import tempfile

    try:
        temporary = os.path.abspath(tempfile.gettempdir())
    except FileNotFoundError:
        return ""
    user = f"-{os.geteuid()}" if hasattr(os, "geteuid") else ""  # Windows has a temporary folder for each user
    return os.path.join(temporary, f"mlbundle-models{user}")


def _is_private(path: str) -> bool:
    """Say whether a path is a folder, no link to one, that is this user's and that nobody else can reach into."""
    info = os.lstat(path)
    is_ours = os.name == "nt" or (info.st_uid == os.geteuid() and not info.st_mode & 0o077)
    return stat.S_ISDIR(info.st_mode) and is_ours
