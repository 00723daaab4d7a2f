"""Which file of a bundle Python finds under which name: wheels, site-packages folders and frozen trees."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from posixpath import basename, dirname, join

PYZ = ".pyz"
"""Ends the name of the folder under which a bundle lists the modules in an executable: `_internal/app.pyz/pkg/mod.pyc`."""

SCRIPTS = ".scripts"
"""Ends the name of the folder for the scripts of an executable that is still to be made: `app.scripts/app.pyc`."""

_SCHEME = re.compile(r"[^/]+\.data/(?:purelib|platlib)/")
_PYZ = re.compile(r"(?:^|(?<=/))[^/]+\.pyz/")
_CACHED = re.compile(r"(.*/|)__pycache__/([^/.]+)\.[^/]*\.pyc")
_MODULE = re.compile(r"(.*/|)([A-Za-z_]\w*)(?:\.py|\.pyw|\.pyc|(?:\.[\w-]+)*\.(?:so|pyd))")
_COMPILED = re.compile(r".*\.(?:so|pyd)")
_NAME = re.compile(r"[A-Za-z_]\w*")


def is_in_pyz(path: str) -> bool:
    """Say whether a path of a bundle is that of a module inside an executable."""
    return _PYZ.search(path) is not None


def installed(path: str) -> str:
    """Return where Python finds a file: a wheel's member in site-packages, without `NAME.data/purelib/` (PyPA, binary distribution
    format); a module of a PYZ archive where its source would lie beside the executable's other files.
    """
    if ".data/" in path:  # which is asked far more often than it is so
        path = _SCHEME.sub("", path, count=1)
    return _PYZ.sub("", path, count=1) if ".pyz/" in path else path


def module_of(path: str) -> str | None:
    """Return the module a file provides, as an installed path without suffix (`pkg/sub/name`; `pkg` for `pkg/__init__.py`)."""
    match = _MODULE.fullmatch(installed(path))
    if match is None or match[1].endswith("__pycache__/"):
        return None
    return match[1].rstrip("/") if match[2] == "__init__" else match[1] + match[2]


def companion_of(path: str) -> str | None:
    """Return the module that a cached bytecode file or a type stub belongs to, as `module_of` writes it."""
    path = installed(path)
    if match := _CACHED.fullmatch(path):
        path = f"{match[1]}{match[2]}.py"
    elif path.endswith(".pyi"):
        path = path[:-1]
    else:
        return None
    return module_of(path)


def is_compiled(path: str) -> bool:
    """Say whether a file is an extension module by its name."""
    return _COMPILED.fullmatch(path) is not None and module_of(path) is not None


class ImportPaths:
    """The modules of a bundle by name.

    A folder is searched for top-level packages when it holds a `*.dist-info`, when it is the parent of an outermost package, when
    PyInstaller puts packages there (`_internal`), or when it is the bundle's root.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: dict[str, list[str]] = defaultdict(list)
        for path in sorted(paths):
            module = module_of(path)
            if module is not None:
                self._files[module].append(path)
        self._packages = {module for module, files in self._files.items() if any(basename(f).startswith("__init__.") for f in files)}
        everything = {installed(path) for path in paths}
        self._sure = {dirname(m[1]) for path in everything if (m := re.match(r"(.*?[^/]*\.(?:dist|egg)-info)/", path))}
        frozen = {m[1] for path in everything if (m := re.match(r"(_internal|.*?/_internal)/", path))}
        outermost = {dirname(module) for module in self._packages if not self._inside_package(module)}
        self.roots = tuple(sorted({"", *self._sure, *frozen, *outermost}, key=lambda root: (-len(root), root)))

    def _inside_package(self, module: str) -> bool:
        while module := dirname(module):
            if module in self._packages:
                return True
        return False

    def root_of(self, path: str) -> str:
        """Return the folder from which the file's package is imported."""
        path = installed(path)
        above = [root for root in self.roots if not root or path.startswith(root + "/")]
        return next((root for root in above if root in self._sure), above[0])

    def top_level(self, path: str) -> str:
        """Return the folder or module at the root under which the file lies, as an installed path."""
        root = self.root_of(path)
        rest = installed(path)[len(root) + 1 if root else 0 :]
        return join(root, rest.split("/", 1)[0])

    def name(self, path: str) -> str:
        """Return the dotted name of a module, or of the folder for any other file."""
        module = module_of(path) or companion_of(path) or dirname(installed(path))
        root = self.root_of(path)
        return module[len(root) + 1 if root else 0 :].replace("/", ".")

    def provided_by(self, module: str) -> list[str]:
        """Return the files that provide a module given as `module_of` writes it."""
        return self._files.get(module, [])

    def find(self, dotted: str) -> list[str]:
        """Return the files that `import dotted` may load, without those of the packages above it."""
        if not all(map(_NAME.fullmatch, dotted.split("."))):
            return []
        relative = dotted.replace(".", "/")
        return [path for root in self.roots for path in self.provided_by(join(root, relative))]

    def find_beside(self, importer: str, level: int, dotted: str) -> list[str]:
        """Return the files that `from {'.' * level}{dotted} import ...` may load when it stands in the file `importer`."""
        folder = dirname(installed(importer))
        for _ in range(level - 1):
            folder = dirname(folder)
        return self.provided_by(join(folder, *dotted.split(".")) if dotted else folder)

    def packages_above(self, path: str) -> list[str]:
        """Return the `__init__` files that are run before the file can be imported."""
        module = module_of(path) or companion_of(path) or installed(path)
        found: list[str] = []
        while module := dirname(module):
            found += self.provided_by(module) if module in self._packages else []
        return found
