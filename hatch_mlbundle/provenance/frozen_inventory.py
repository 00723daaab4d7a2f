"""An SBOM of what a frozen application or a folder holds, to lie beside it: little of it has metadata of its own any more."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from hatch_mlbundle.bundles.record import recorded_files
from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.importpaths import installed, is_compiled, module_of
from hatch_mlbundle.model import Bundle, Kind
from hatch_mlbundle.storage import storage_errors

from .inventory import Component, distribution, document, held, library, vendored
from .record import Author

SUFFIX = ".cdx.json"
"""What is appended to a bundle's name to name its SBOM."""


def frozen_inventory(bundle: Bundle, name: str, author: Author, *, made_here: bool) -> bytes:
    """Return the SBOM of the application `name`.

    Of a bundle that was `made_here`, the distributions that are installed here and have a file or module in it are told as well, and
    Python itself.
    """
    found = vendored(bundle)
    if made_here:
        found = {**{each["purl"]: each for each in _installed(bundle)}, **found}
    components = [*([_python()] if made_here else []), *(found[purl] for purl in sorted(found)), *_system_libraries(bundle), *held(bundle)]
    return document({"type": "application", "bom-ref": name, "name": name}, components, author)


def write_sbom(bundle: Bundle, name: str, author: Author, folder: Path, *, made_here: bool) -> None:
    """Write that SBOM into the folder of what is to lie beside the bundle; raises StorageError."""
    with storage_errors(folder):
        (folder / f"{name}{SUFFIX}").write_bytes(frozen_inventory(bundle, name, author, made_here=made_here))


def _python() -> Component:
    name, version = platform.python_implementation(), platform.python_version()
    return {"type": "platform", "bom-ref": "python", "name": name, "version": version, "purl": f"pkg:generic/python@{version}"}


def _installed(bundle: Bundle) -> Iterator[Component]:
    """Yield the installed distributions that a bundle has something of; of several of one name the first, which is the one imported."""
    contents = FrozenModules(bundle).contents
    bootloader = {"pyinstaller"} if bundle.of_kind(Kind.FROZEN) else set()
    places = {installed(path).removeprefix(contents) for path in bundle}
    modules = {module for path in places if (module := module_of(path))}
    seen: set[str] = set()
    for each in distributions():
        said = distribution((each.read_text("METADATA") or "").encode())
        if not said or (name := canonicalize_name(said["name"])) in seen:
            continue
        seen.add(name)
        if name in bootloader or any(path in places or module_of(path) in modules for path in _files(each)):
            yield {"type": "library", "bom-ref": said["purl"], **said}


def _system_libraries(bundle: Bundle) -> Iterator[Component]:
    """Yield the libraries that PyInstaller took from the system: they lie beside each other in the folder of contents."""
    contents = FrozenModules(bundle).contents
    for file in bundle.of_kind(Kind.ELF, Kind.PE, Kind.MACHO):
        name = file.path.removeprefix(contents)
        if contents and file.path.startswith(contents) and "/" not in name and not is_compiled(name):
            yield library(file, name)


def _files(each: Distribution) -> Iterator[str]:
    """Yield the files of a distribution, relative to site-packages."""
    for path, _ in recorded_files("x.dist-info/RECORD", (each.read_text("RECORD") or "").splitlines()):
        yield path
