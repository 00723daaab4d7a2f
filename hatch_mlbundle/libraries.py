"""Libraries that are not among our own requirements: whether they are installed, and in which release."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from .errors import MissingLibraryError


def library_versions(user: str, *names: str, install: str = "hatch-mlbundle[models]") -> dict[str, str]:
    """Return the release of each library by its name, found without importing it.

    Raises MissingLibraryError, which says who needs it and which requirement brings it.
    """
    try:
        return {name: version(name) for name in names}
    except PackageNotFoundError as error:
        raise MissingLibraryError(f"{user} needs the library {error.name}; pip install '{install}'") from error
