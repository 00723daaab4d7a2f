"""Where the store may be: MLBUNDLE_STORE, or below the user's cache folder, or else in a private folder among temporary files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..user_folders import is_private, make_private, temporary_folder, user_cache
from .errors import ModelUnavailableError

STORE = "MLBUNDLE_STORE"
_TEMPORARY = "mlbundle-models"


def roots() -> Iterator[str]:
    """Yield the folders that may hold the store, the best first; what is in them can be relied on."""
    chosen = os.environ.get(STORE)
    if chosen:
        yield os.path.abspath(chosen)
        return
    user = user_cache()
    if user:
        yield os.path.join(user, "mlbundle", "models")
    temporary = temporary_folder(_TEMPORARY)
    if temporary and (not os.path.lexists(temporary) or is_private(temporary)):
        yield temporary


def writable_root() -> str:
    """Return the first of the folders that can be written, with all parts of a store in it; raises ModelUnavailableError for none."""
    temporary = "" if os.environ.get(STORE) else temporary_folder(_TEMPORARY)
    faults = []
    for root in roots():
        try:
            if root == temporary:
                make_private(root)
            for part in ("blobs", "ready", "partial"):
                os.makedirs(os.path.join(root, part), exist_ok=True)
                if not os.access(os.path.join(root, part), os.W_OK | os.X_OK):
                    raise PermissionError("it cannot be written")
        except OSError as error:
            faults.append(f"{root}: {error.strerror or error}")
        else:
            return root
    faults += [f"{temporary} is not this user's own"] if temporary else []
    raise ModelUnavailableError(f"no store for models can be written ({', '.join(faults)}); set {STORE} to a folder that can")
