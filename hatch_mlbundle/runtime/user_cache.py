"""The user's cache folder, as the XDG base directory specification, Apple and Microsoft have it."""

from __future__ import annotations

import os
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
