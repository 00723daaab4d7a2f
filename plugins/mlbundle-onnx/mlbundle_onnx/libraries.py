"""The libraries that are worked with: whether they are there, and in which release."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hatch_mlbundle.errors import MissingLibraryError


def versions(*modules: str) -> dict[str, str]:
    """Return the release of each library, found without importing it; raises MissingLibraryError."""
    found = {}
    for module in modules:
        try:
            found[module] = version(module.replace("_", "-"))
        except PackageNotFoundError as error:
            extra = "[slim]" if module == "onnxslim" else ""
            raise MissingLibraryError(f"{module}: is not installed; pip install 'mlbundle-onnx{extra}'") from error
    return found
