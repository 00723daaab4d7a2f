"""Runs inside an application that is traced: writes down which files and modules below some folders it uses, as it uses them.

It stands alone: frozen applications have it as a script that runs before all of theirs, other Pythons as part of a `sitecustomize`.
It imports what every Python has built in (`__future__` is a file, which an application may lack), raises nothing, and keeps no file
open that a fork or a daemon could mistake for its own.

Each process writes a file `PID-NUMBER` of records, each a letter, a text and a NUL byte, each with one write(2), so that no way
to end a process loses any: `f` a path below a root, relative to it, `m` an executable and a module of its archive that was asked for
(`app/pkg.mod`), `l` one whose code was loaded, `p` an executable whose modules are watched, `s` a process in which the hook is at
work, with its executable if that is frozen.
"""

import atexit
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not in every application
    from collections.abc import Callable, Iterable
    from typing import Any

_WINDOWS = os.name == "nt"
_READING = (
    *("open", "os.listdir", "os.scandir", "os.chdir", "ctypes.dlopen", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen"),
    *("os.rename", "os.remove", "os.link", "os.getxattr", "os.utime", "os.chmod"),
)
"""Audit events (PEP 578; the table in Python's library reference) whose first argument is a path that had better be there."""
_SILENT = ("stat", "lstat", "access", "readlink", "_path_exists", "_path_isfile", "_path_isdir", "_path_islink", "_path_lexists")
"""Functions of the module `posix` (or `nt`) that look at files and raise no audit event."""
_SETS = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")
_MAPS = "/proc/self/maps"


def start(folder: str, roots: "Iterable[str]") -> None:
    """Write down, in new files in `folder`, what this process and its forks use below `roots` from now on."""
    _start(_Recorder(folder, roots), "")


def start_frozen(folder: str, executable: str, depth: int, bundle: str) -> None:
    """Do the same in a frozen application whose files lie `depth` folders below its root; `folder` holds unless a variable says else.

    What lies in the root may be links to the folder `bundle`.
    """
    root: str = sys._MEIPASS  # type: ignore[attr-defined]
    for _ in range(depth):
        root = os.path.dirname(root)
    recorder = _Recorder(os.environ.get("MLBUNDLE_TRACE") or folder, [root, bundle])
    _watch_archive(recorder, executable)
    _start(recorder, executable)


def _start(recorder: "_Recorder", executable: str) -> None:
    recorder.write("s", executable)
    _watch_events(recorder)
    _watch_silent(recorder)
    _look_back(recorder)
    _watch_the_end(recorder)


class _Recorder:
    """Takes down paths and names, each once; whatever goes wrong in it, the application does not notice."""

    def __init__(self, folder: str, roots: "Iterable[str]") -> None:
        self._folder = folder
        self._file = -1
        self._identity: object = None
        self._seen: set[str] = set()
        self._originals = os.open, os.write, os.fstat, os.close
        both = {form(root).rstrip(os.sep) + os.sep for root in roots for form in (os.path.abspath, os.path.realpath)}
        self._roots = tuple(sorted(both, key=len, reverse=True))
        self._prefixes = tuple(map(os.path.normcase, self._roots))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def path(self, path: "Any") -> None:
        """Take down a path, absolute or not, as text, bytes or an object that has one, where it is below a root."""
        try:
            if path.__class__ is not str:
                if path is None or path.__class__ is int:
                    return
                path = os.fsdecode(path)
            if path in self._seen:
                return
            if _WINDOWS:
                found = os.path.normcase(os.path.abspath(path)).startswith(self._prefixes)
            else:
                found = path.startswith(self._prefixes)
                if not found and path[:1] != "/":
                    path = os.path.abspath(path)
                    found = path.startswith(self._prefixes)
            if found and path not in self._seen:
                self._seen.add(path)
                self._path(path)
        except Exception:  # noqa: S110 - an application must not fail because somebody looks on
            pass

    def module(self, executable: str, name: str, letter: str = "m") -> None:
        """Take down a module of an executable's archive."""
        record = f"{letter}{executable}/{name}"
        if record not in self._seen:
            self._seen.add(record)
            self.write(letter, record[1:])

    def write(self, letter: str, text: str) -> None:
        """Write a record to this process's file."""
        try:
            record = letter.encode() + os.fsencode(text) + b"\0"
            if not self._is_open():
                self._open()
            self._originals[1](self._file, record)
        except Exception:  # noqa: S110 - the same
            pass

    def libraries(self) -> None:
        """Take down the files that are mapped into memory: native libraries, above all."""
        if not os.path.exists(_MAPS):
            return
        opened, _, _, close = self._originals
        file, data = opened(_MAPS, os.O_RDONLY | os.O_CLOEXEC), b""
        try:
            while piece := os.read(file, 1 << 16):
                data += piece
        finally:
            close(file)
        for name in {line[at:] for line in data.split(b"\n") if (at := line.find(b"/")) > 0}:
            self.path(os.fsdecode(name))

    def _path(self, path: str) -> None:
        full = os.path.abspath(path) if _WINDOWS else path
        folded = os.path.normcase(full)
        for root in self._prefixes:
            if folded.startswith(root):
                self.write("f", full[len(root) :])
                return

    def _is_open(self) -> bool:
        """Say whether the descriptor is still that of our file: a daemon closes all, and its own may get the same number."""
        if self._file < 0:
            return False
        try:
            found = self._originals[2](self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        number = 0
        while True:
            try:
                self._file = self._originals[0](os.path.join(self._folder, f"{os.getpid()}-{number}"), flags, 0o666)
                break
            except FileExistsError:
                number += 1
        found = self._originals[2](self._file)
        self._identity = found.st_dev, found.st_ino

    def _forget(self) -> None:
        """Leave the parent's file to the parent."""
        if self._is_open():
            self._originals[3](self._file)
        self._file = -1


class _Watched:
    """A function that looks at a file, and has the path taken down where that went well.

    An object, since a function would become a method where it is kept in a class, as pathlib of Python 3.10 does with `os.stat`.
    """

    def __init__(self, original: "Callable[..., Any]", recorder: "_Recorder", *, lookup: "Callable[[str], str]" = os.readlink) -> None:
        self.__wrapped__ = original
        for name in ("__name__", "__qualname__", "__doc__", "__module__", "__text_signature__", "__self__"):
            if hasattr(original, name):
                setattr(self, name, getattr(original, name))
        self._recorder = recorder
        self._lookup = lookup

    def __call__(self, *arguments: "Any", **options: "Any") -> "Any":
        result = self.__wrapped__(*arguments, **options)
        if result:
            path = arguments[0] if arguments else options.get("path")
            if options and options.get("dir_fd") is not None:
                self._relative(path, options["dir_fd"])
            else:
                self._recorder.path(path)
        return result

    def _relative(self, path: "Any", folder: int) -> None:
        try:
            self._recorder.path(os.path.join(self._lookup(f"/proc/self/fd/{folder}"), os.fsdecode(path)))
        except Exception:  # noqa: S110 - no such file system, no such thing to see
            pass

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> str:
        return self.__wrapped__.__name__


class _Archive(dict):  # type: ignore[type-arg]
    """The table of PyInstaller's archive of modules, in which every module is looked up before it is found, or loaded."""

    recorder: _Recorder
    executable: str

    def _note(self, name: object) -> None:
        if isinstance(name, str) and dict.__contains__(self, name):
            self.recorder.module(self.executable, name)

    def get(self, name: object, default: object = None) -> "Any":
        self._note(name)
        return dict.get(self, name, default)

    def __getitem__(self, name: object) -> "Any":
        self._note(name)
        return dict.__getitem__(self, name)

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return dict.__contains__(self, name)


def _watch_archive(recorder: "_Recorder", executable: str) -> None:
    """PyInstaller, `loader/pyimod02_importers.py`: `pyz_archive`, a `ZlibArchiveReader` with its table `toc`."""
    reader = getattr(sys.modules.get("pyimod02_importers"), "pyz_archive", None)
    table = getattr(reader, "toc", None)
    if reader is not None and isinstance(table, dict):
        watched = _Archive(table)
        watched.recorder, watched.executable = recorder, executable
        reader.toc = watched
        extract = reader.extract

        def watched_extract(name: str, *arguments: "Any", **options: "Any") -> "Any":
            recorder.module(executable, name, "l")
            return extract(name, *arguments, **options)

        reader.extract = watched_extract
        recorder.write("p", executable)


def _watch_events(recorder: "_Recorder") -> None:
    reading = frozenset(_READING)
    take = recorder.path

    def hook(event: str, arguments: "tuple[Any, ...]") -> None:
        if event in reading:
            take(arguments[0])
            if event == "os.exec":
                _safely(recorder.libraries)
        elif event == "import" and arguments[1] is not None:
            take(arguments[1])

    sys.addaudithook(hook)


def _watch_silent(recorder: "_Recorder") -> None:
    system = sys.modules[os.name]
    for name in _SILENT:
        original = getattr(system, name, None)
        if original is None:
            continue
        watched = _Watched(original, recorder)
        for module in (system, os, os.path):
            for known, value in list(vars(module).items()):
                if value is original:
                    setattr(module, known, watched)
        for each in _SETS:
            supporting: Any = getattr(os, each, ())
            if original in supporting:
                supporting.add(watched)
        accessor = getattr(sys.modules.get("pathlib"), "_NormalAccessor", None)  # of Python 3.10
        if accessor is not None and accessor.__dict__.get(name) is original:
            setattr(accessor, name, watched)


def _look_back(recorder: "_Recorder") -> None:
    """Take down what was loaded before there was a hook."""
    for module in list(sys.modules.values()):
        try:
            recorder.path(module.__dict__.get("__file__"))
        except Exception:  # noqa: S112 - a module may be anything
            continue
    for path in sys.path:
        if path.endswith(".zip"):
            recorder.path(path)
    recorder.path(sys.executable)
    _safely(recorder.libraries)


def _watch_the_end(recorder: "_Recorder") -> None:
    """Look at the libraries once more when the process ends, however it does so."""
    atexit.register(_safely, recorder.libraries)
    leave = os._exit

    def watched_exit(status: int) -> "Any":
        _safely(recorder.libraries)
        leave(status)

    watched_exit.__name__ = watched_exit.__qualname__ = "_exit"
    watched_exit.__doc__ = leave.__doc__
    watched_exit.__wrapped__ = leave  # type: ignore[attr-defined]
    for module in (os, sys.modules[os.name]):
        module._exit = watched_exit  # type: ignore[attr-defined]


def _safely(work: "Callable[[], None]") -> None:
    try:
        work()
    except Exception:  # noqa: S110 - an application must not fail because somebody looks on
        pass
