"""Put into a frozen executable what loads packed weights (runtime/patching.py), where its bundle has such files.

It is a script, as PyInstaller's run-time hooks are, that holds modules as code: of the runtime what the files need, and of the standard
library what that needs and the application lacks.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.frozenmodules import archive_of
from hatch_mlbundle.importpaths import PYZ, module_of
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.runtime.signpost import COMPRESSED, PACKED

from .carchive import SCRIPT, content_of
from .executable import Executable
from .needed_modules import needed_at_once, needed_modules
from .script_code import script_code

LOADER = "pyi_rth_mlbundle_weights"
"""The script's name; the beginning is that of PyInstaller's run-time hooks."""

Source: TypeAlias = tuple[bool, str]
"""Whether a module is a package, and its source."""
Compile: TypeAlias = Callable[[str, str], bytes]
"""Takes a module's source and name, and returns its code as marshal writes it."""

_NAME = ".safetensors"
_RUNTIME = Path(__file__).parents[1] / "runtime"
_PACKAGE = "mlbundle_runtime"
"""What the runtime is called there: an application may have hatch_mlbundle itself."""
_FUTURE = "\nfrom __future__ import annotations\n"
"""Would import a module that an application need not have; the code is compiled as if it stood there."""
_START = """\
(lambda space: (
    exec(__import__("marshal").loads(__import__("zlib").decompress({code!r})), space),
    space["start"]({modules!r}, {first!r}),
))({{"__name__": "mlbundle_embedded"}})
"""
_BOOTSTRAP = ("_struct", "struct", "zlib")
"""What PyInstaller's own scripts need, and every executable has (`get_bootstrap_modules`)."""
_REMEDY = "import it in the application, and let no step leave it out"
_LEVEL = 9
"""How hard zlib compresses, as PyInstaller does."""
_LARGEST = 1 << 26
"""Bytes of a script that nothing has."""


def needs_loader(path: str) -> bool:
    """Say whether nothing but the loader reads a file of this name."""
    return path.endswith(_NAME + PACKED)


def is_loadable(path: str) -> bool:
    """Say whether the loader reads a file of this name; one that was compressed can be unpacked before, too (unpack.py)."""
    return path.endswith((_NAME + PACKED, _NAME + COMPRESSED))


def with_loader(executable: Executable, bundle: Bundle) -> tuple[Executable, tuple[tuple[str, bytes], ...]]:
    """Return the executable and the script that it needs to load the bundle's packed weights: none where there are none, or it has it.

    An earlier one is taken out where there is another. Raises UnsoundResultError where the application lacks what the loader needs,
    MissingProgramError where no Python here compiles for the executable's.
    """
    packed = [path for path in bundle if is_loadable(path)]
    if not packed:
        return executable, ()
    modules = modules_in(bundle, executable.archive.contents_folder, executable.path)
    source = loader_source(packed, modules, lambda text, name: script_code(executable, text, name), executable.path)
    return with_script(executable, LOADER, source)


def with_script(executable: Executable, name: str, source: str) -> tuple[Executable, tuple[tuple[str, bytes], ...]]:
    """Return the executable and a script to put into it, in the place of an earlier one of this name: none where it has it already."""
    archive = executable.archive
    old = [entry for entry in archive.entries if (entry.name, entry.type) == (name, SCRIPT)]
    code = script_code(executable, source, f"{name}.py")
    if any(b"".join(content_of(executable.file, entry, _LARGEST).chunks()) == code for entry in old):
        return executable, ()
    bare = replace(executable, archive=replace(archive, entries=tuple(entry for entry in archive.entries if entry not in old)))
    return bare, ((name, code),)


def loader_source(packed: Collection[str], modules: Collection[str], compiled: Compile, executable: str) -> str:
    """Return the script's source, for these packed files in an application that has these modules.

    Raises UnsoundResultError, which names the executable, where a module is missing that cannot be put in.
    """
    if "numpy" not in modules and any(map(needs_loader, packed)):
        raise UnsoundResultError(f"{executable}: has no numpy, which packed weights need; {_REMEDY}")
    ours = dict(_runtime_modules(compressed=any(path.endswith(COMPRESSED) for path in packed)))
    found, lacking = borrowed([(text, _PACKAGE) for _, text in ours.values()], modules)
    for name in lacking:
        raise UnsoundResultError(f"{executable}: has no module {name}, which the loader of packed weights needs; {_REMEDY}")
    return start_of(_START, {**ours, **found}, compiled, first=f"{_PACKAGE}.patching")


def start_of(template: str, texts: Mapping[str, Source], compiled: Compile, **values: str) -> str:
    """Return the source of a script that has modules as code, and what makes them importable (runtime/embedded.py)."""
    rows = {name: (package, zlib.compress(compiled(text, f"{name}.py"), _LEVEL)) for name, (package, text) in sorted(texts.items())}
    code = zlib.compress(compiled(source_of("embedded"), "mlbundle_embedded.py"), _LEVEL)
    return template.format(code=code, modules=rows, **values)


def modules_in(bundle: Bundle, contents: str, executable: str) -> set[str]:
    """Return the dotted names of the modules that an executable finds in its bundle, below the folder of contents ("" for the root)."""
    prefix = f"{contents}/" if contents else ""
    others = {archive for path in bundle if (archive := archive_of(path)) and not f"/{archive}".endswith(f"/{executable}{PYZ}/")}
    found = set(_BOOTSTRAP)
    for path in bundle:
        module = module_of(path)
        if module is not None and archive_of(path) not in others:
            folder, _, name = module.rpartition("/")
            found.add(name if folder.endswith("lib-dynload") else module.removeprefix(prefix).replace("/", "."))
    library = bundle.get(f"{prefix}base_library.zip")
    return found | _modules_in_zip(library.read()) if library else found


def _modules_in_zip(data: bytes) -> set[str]:
    from zipfile import BadZipFile, ZipFile  # most bundles have no packed weights

    try:
        with ZipFile(io.BytesIO(data)) as archive:
            return {module.replace("/", ".") for name in archive.namelist() if (module := module_of(name))}
    except BadZipFile:
        return set()


def _runtime_modules(*, compressed: bool) -> Iterator[tuple[str, Source]]:
    """Yield the runtime's modules by the names that they have there: whether each is a package, and its source."""
    yield _PACKAGE, (True, "")
    waiting = ["patching", *(["unpack"] if compressed else [])]
    seen = {"unpack", *waiting}
    while waiting:
        module = waiting.pop()
        text = source_of(module)
        yield f"{_PACKAGE}.{module}", (False, text)
        names = {each.rpartition(".")[2] for each in needed_modules(text, _PACKAGE) if each.startswith(f"{_PACKAGE}.")}
        waiting += (new := sorted(name for name in names - seen if (_RUNTIME / f"{name}.py").is_file()))
        seen.update(new)


def source_of(module: str) -> str:
    """Return the source of a module of the runtime, `models/store` for one in a package, to be compiled as `script_code` does."""
    return (_RUNTIME / f"{module}.py").read_text(encoding="utf-8").replace(_FUTURE, "\n\n")


def borrowed(sources: Iterable[tuple[str, str]], modules: Collection[str]) -> tuple[dict[str, Source], list[str]]:
    """Return the modules of the standard library that sources, each with its package, need and the application lacks, and their sources.

    Those that are no Python are only named, sorted.
    """
    found: dict[str, Source] = {}
    lacking: set[str] = set()
    waiting = [name for text, package in sources for name in needed_modules(text, package)]
    while waiting:
        name = waiting.pop()
        spec = None if name in modules or name in found else _standard_spec(name)
        if spec is None or spec.origin in ("built-in", "frozen"):
            continue
        if spec.origin is None or not spec.origin.endswith(".py"):
            lacking.add(name)
            continue
        text = Path(spec.origin).read_text(encoding="utf-8")
        found[name] = (spec.submodule_search_locations is not None, text)
        waiting += needed_at_once(text, spec.parent or "")
    return found, sorted(lacking)


def _standard_spec(name: str) -> ModuleSpec | None:
    """Return where a module of the standard library is, None for any other, and for what is no module."""
    if name.partition(".")[0] not in sys.stdlib_module_names:
        return None
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # what a module has, or __main__
        return None
