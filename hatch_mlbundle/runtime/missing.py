"""Tell, in an optimized application, which step left out a module or file that is missing, and what to do about it.

It runs before the application, in a namespace of its own (bundles/missing_notice.py puts it there), and needs only what PyInstaller's
bootstrap needs, too. The list of what was left out is unpacked when something is missing, not before.
"""

from __future__ import annotations

import _thread
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    Found = tuple[str, str, str, str]

_MARK = b"left out:"
"""Begins the packed list."""
_MOST_ERRORS = 50
"""Errors of a chain that are looked at."""
_LONGEST_TEXT = 10000
"""Characters of an error's text that are looked at."""
_LIBRARIES = (".so", ".dll", ".dylib", ".pyd")


def install(contents: str, tops: str, packed: bytes) -> None:
    """Watch for what is missing: `contents` is the folder of the application's files in the bundle, with a `/` at its end, or empty.

    `tops` holds the top-level names of the modules left out, each between blanks; `packed` is the list (bundles/missing_notice.py).
    """
    left_out = LeftOut(contents, packed)
    sys.meta_path.append(Finder(tops, left_out))
    _watch(left_out)
    _watch_threads(left_out)


class LeftOut:
    """What was left out, by file and by module: the step, the path in the bundle, and what to do."""

    def __init__(self, contents: str, packed: bytes) -> None:
        self._contents = contents
        self._packed = packed
        self._files: dict[str, Found] = {}
        self._modules: dict[str, Found] = {}

    def module(self, name: str) -> str | None:
        """Return what to say of a missing module: None where it was not left out."""
        self._unpack()
        found = self._modules.get(name)
        if found is None:
            return None
        step, path, remedy, _ = found
        return f"step '{step}' left it out; {_filled(remedy, path, name)}"

    def file(self, name: str | bytes | os.PathLike[str]) -> str | None:
        """Return what to say of a missing file or folder: None where it was not left out."""
        place = self._place(name)
        if place is None:
            return None
        self._unpack()
        found = self._files.get(place)
        if found is None:
            place += "/"
            found = next((each for path, each in self._files.items() if path.startswith(place)), None)
        return _said(found, place) if found else None

    def library(self, name: str) -> str | None:
        """Return what to say of a missing native library of this file name: None where none was left out."""
        self._unpack()
        found = next((each for path, each in self._files.items() if path.rpartition("/")[2] == name), None)
        return _said(found, found[1]) if found else None

    def _place(self, name: str | bytes | os.PathLike[str]) -> str | None:
        """Return a file's path in the bundle, None where it lies outside, or is there."""
        path = os.path.abspath(os.fsdecode(name))
        if os.path.lexists(path):
            return None
        for root in (_root(), os.path.realpath(_root())):
            if path.startswith(root + os.sep):
                return self._contents + path[len(root) + 1 :].replace(os.sep, "/")
        return None

    def _unpack(self) -> None:
        """Fill `_files` and `_modules`, once; two threads at a time do no harm."""
        packed = self._packed
        if not packed:
            return
        files: dict[str, Found] = {}
        modules: dict[str, Found] = {}
        for section in zlib.decompress(packed[len(_MARK) :]).decode("utf-8", "surrogateescape").split("\0\0"):
            step, module_remedy, file_remedy, *paths = section.split("\0")
            for path in paths:
                found = (step, path, module_remedy, file_remedy)
                files.setdefault(path, found)
                module = _module_of(path.removeprefix(self._contents))
                if module:
                    modules.setdefault(module, found)
        self._files, self._modules, self._packed = files, modules, b""


class Finder:
    """The last of all finders: nobody else found the module."""

    def __init__(self, tops: str, left_out: LeftOut) -> None:
        self._tops = tops
        self._left_out = left_out

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError for an import of what was left out; return None to whoever only asks whether it is there."""
        top = name.partition(".")[0]
        if f" {top} " in self._tops and _is_import(sys._getframe(1)):
            said = self._left_out.module(name)
            if said:
                raise ModuleNotFoundError(f"No module named {name!r}: mlbundle's {said}", name=name)


def _root() -> str:
    """Return the folder that PyInstaller's bootloader found, or made, for the application's files."""
    return str(sys._MEIPASS)  # type: ignore[attr-defined]


def _is_import(frame: FrameType | None) -> bool:
    """Say whether a finder is asked by the import system, for an import: `importlib.util.find_spec` comes another way."""
    names = sys.modules["_frozen_importlib"].__dict__
    for function in ("_find_spec", "_find_and_load_unlocked"):
        if frame is None or frame.f_code.co_name != function or frame.f_globals is not names:
            return False
        frame = frame.f_back
    return True


def _module_of(path: str) -> str | None:
    """Return the dotted name of the module that a file provides, by its path below the folder of packages."""
    archive, mark, rest = path.partition(".pyz/")
    if mark and "/" not in archive:
        path = rest
    folder, _, name = path.rpartition("/")
    if folder.endswith("lib-dynload"):
        folder = ""
    stem, _, suffix = name.partition(".")
    if not suffix.endswith(("py", "pyc", "so", "pyd")) or "-" in stem or "__pycache__" in folder:
        return None
    package = folder.replace("/", ".")
    if stem == "__init__":
        return package
    return f"{package}.{stem}" if package else stem


def _said(found: Found, place: str) -> str:
    step, _, _, remedy = found
    return f"step '{step}' left out {place}; {_filled(remedy, place, '')}"


def _filled(remedy: str, path: str, module: str) -> str:
    return remedy.replace("{path}", path).replace("{module}", module)


def _telling(previous: Any, left_out: LeftOut, error_of: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Return a hook for uncaught errors that says one line more than `previous` does."""

    def hook(*arguments: Any) -> None:
        try:
            previous(*arguments)
        finally:
            _tell(left_out, error_of(arguments))

    return hook


def _watch(left_out: LeftOut) -> None:
    """Wrap the hook for uncaught errors; the default one stays the default one for those who look whether it is (PyQt, exceptiongroup)."""
    previous = sys.excepthook
    hook = _telling(previous, left_out, lambda arguments: arguments[1])
    if previous is sys.__excepthook__:
        sys.__excepthook__ = hook
    sys.excepthook = hook


def _watch_threads(left_out: LeftOut) -> None:
    """Wrap the hook of threads without importing `threading`, which takes its own from `_thread` once it is imported."""
    default = getattr(_thread, "_excepthook", None)
    if default is None:  # another implementation of Python
        return
    hook = _telling(default, left_out, lambda arguments: arguments[0].exc_value)
    _thread._excepthook = hook
    threading: Any = sys.modules.get("threading")
    if threading is not None and threading.excepthook is default:
        threading.excepthook = threading.__excepthook__ = hook


def _tell(left_out: LeftOut, error: BaseException) -> None:
    """Print what is known of a missing file to standard error; never raise."""
    try:
        for each in _chain(error):
            said = _explain(left_out, each)
            if said:
                if sys.stderr is not None:
                    print(f"mlbundle: {said}", file=sys.stderr)  # noqa: T201 - where tracebacks go
                return
    except Exception:  # noqa: S110 - the application's own error matters more
        pass


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that it came of."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_ERRORS:
        each = waiting.pop(0)
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]


def _explain(left_out: LeftOut, error: BaseException) -> str | None:
    text = str(error)[:_LONGEST_TEXT]
    if "mlbundle's step" in text:
        return None
    if isinstance(error, ImportError) and (said := _missing_name(left_out, error, text)):
        return said
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if isinstance(name, (str, bytes, os.PathLike)) and (said := left_out.file(name)):
            return said
    return _mentioned(left_out, text)


def _missing_name(left_out: LeftOut, error: ImportError, text: str) -> str | None:
    """`from package import module` tells of a missing module by another error, which has the name in its text alone before Python 3.12."""
    parts = text.split("'")
    if error.name and text.startswith("cannot import name") and len(parts) > 2:
        said = left_out.module(f"{error.name}.{parts[1]}")
        return f"{error.name}.{parts[1]}: {said}" if said else None
    return None


def _mentioned(left_out: LeftOut, text: str) -> str | None:
    """Look for the paths of missing files, and for the names of missing libraries, in an error's text."""
    plain = text.replace('"', "'")
    at = plain.find(_root())
    if at >= 0:
        whole = plain[at:].partition("'")[0].partition("\n")[0]
        for path in (whole, whole.partition(": ")[0], whole.partition(" ")[0]):
            said = left_out.file(path.rstrip(".,:;)"))
            if said:
                return said
    for word in plain.replace("'", " ").split():
        name = word.strip(".,:;()")
        if any(suffix in name for suffix in _LIBRARIES):
            said = left_out.library(name.replace(os.sep, "/").rpartition("/")[2])
            if said:
                return said
    return None
