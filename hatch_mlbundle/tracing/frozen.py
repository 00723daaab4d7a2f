"""Trace a frozen application: its executables with the hook in them, in a tree of their own where its files are the same."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hatch_mlbundle.bundles.executable import Executable, open_executables
from hatch_mlbundle.bundles.executable_writer import save
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.script_code import script_code
from hatch_mlbundle.errors import TraceError
from hatch_mlbundle.storage import storage_error, storage_errors

from .inventory import Inventory, read_inventory

NAME = "mlbundle_trace"
"""Of the script in an executable."""
PREFIX = "mlbundle-workspace-trace-"
"""Begins the names of our temporary folders, as those of workspaces (workspace.py) do: so those of killed processes are swept."""

_HOOK = Path(__file__).parents[1] / "runtime" / "trace_hook.py"
_SCRIPT = """\
def {name}():
    import marshal
    module = type(marshal)("mlbundle_trace_hook")
    try:
        exec(marshal.loads({code!r}), module.__dict__)
        module.start_frozen({records!r}, {executable!r}, {depth})
    except Exception:
        pass
{name}()
del {name}
"""
_SERVER = Path(__file__).with_name("tree_server.py")
_SHARED = (".so", ".pyd", ".dll", ".dylib", ".py", ".pyi", ".pyc", ".h", ".hpp", ".cuh")
"""No native code writes into these where they lie, so they may be links to the user's own; the hook parts those that Python writes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree at `path`, and what is in the user's own, with its executables.

    `remove` begins to remove the tree, which takes a while, before the context ends.
    """

    path: Path
    inventory: Inventory
    executables: Mapping[str, Executable]
    remove: Callable[[], None]


@contextmanager
def traced_tree(program: Path, records: Path) -> Iterator[Tree]:
    """Give a tree like the one-folder bundle that `program` is in, whose executables write to `records` what they use.

    Its libraries and sources are hard links where the file system has such things, its other files are copies: whatever the
    application does, the user's own stays as it is. Raises TraceError, StorageError, MissingProgramError.
    """
    folder = program.parent
    tree = _place_near(folder) / folder.name
    with _served(tree, program) as served, open_executables(folder) as executables:
        with storage_errors(tree):
            (tree.parent / "hooked").mkdir()
            _hook(tree.parent / "hooked", executables, records)
            inventory = read_inventory(folder)
            served.wait()
            for path in (tree.parent / "hooked").iterdir():
                path.replace(tree / path.name)
        yield Tree(path=tree, inventory=inventory, executables=executables, remove=served.remove)


@contextmanager
def hooked(tree: Path, records: Path) -> Iterator[None]:
    """Put the hook into the executables of a bundle that is ours to change; afterwards they are as before."""
    with storage_errors(tree), ExitStack() as stack:
        aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tree.parent))
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        (aside / "before").mkdir()
        (aside / "hooked").mkdir()
        with open_executables(tree) as executables:
            _hook(aside / "hooked", executables, records)
        for path in (aside / "hooked").iterdir():
            (tree / path.name).rename(aside / "before" / path.name)
            stack.callback((aside / "before" / path.name).replace, tree / path.name)
            path.rename(tree / path.name)
        yield


def _hook(folder: Path, executables: Mapping[str, Executable], records: Path) -> None:
    """Write the executables with the hook in them into an empty folder."""
    for name, executable in executables.items():
        problem = why_not(executable.file, executable.archive)
        if problem:
            raise TraceError(f"{executable.file.path}: cannot be traced: {problem}")
        target = folder / name
        save(executable.rebuilt(executable.paths(), scripts=[(NAME, _code(executable, records))]), target)
        target.chmod(stat.S_IMODE(executable.file.path.stat().st_mode))


def _code(executable: Executable, records: Path) -> bytes:
    hook = script_code(executable, _HOOK.read_text(encoding="utf-8"), _HOOK.name)
    depth = 1 if executable.archive.contents_folder else 0
    script = _SCRIPT.format(name=f"_{NAME}", code=hook, records=str(records), executable=executable.path, depth=depth)
    return script_code(executable, script, f"{NAME}.py")


def _place_near(folder: Path) -> Path:
    """Return a new temporary folder on the same file system, where hard links can be made, if there is one."""
    system = Path(tempfile.gettempdir())
    if system.stat().st_dev != folder.stat().st_dev:
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=folder.parent))
    with storage_errors(system):
        return Path(tempfile.mkdtemp(prefix=PREFIX))


@contextmanager
def _served(tree: Path, program: Path) -> Iterator[_Served]:
    """Have the tree made, but for the program itself, and removed with its parent."""
    server = subprocess.Popen([sys.executable, "-I", "-S", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    request = {
        "place": str(tree.parent),
        "source": str(program.parent),
        "target": str(tree),
        "shared": _SHARED,
        "but": program.name,
    }
    try:
        with server:
            if server.stdin is None or server.stdout is None:
                raise RuntimeError("a process was started without its pipes")
            server.stdin.write(json.dumps(request).encode() + b"\n")
            server.stdin.flush()
            yield _Served(tree, server.stdin, server.stdout)
    finally:
        shutil.rmtree(tree.parent, ignore_errors=True)


class _Served:
    """A tree that a process makes, and removes."""

    def __init__(self, tree: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._tree = tree
        self._requests = requests
        self._answers = answers

    def wait(self) -> None:
        """Wait until the tree is made; raises StorageError or TraceError where it cannot be."""
        answer = self._answers.readline()
        told = json.loads(answer) if answer else {"errno": None, "problem": "the process that copied it was killed", "path": None}
        if told:
            error = OSError(told["errno"], told["problem"])
            refused = storage_error(error, self._tree) if told["path"] is None or told["path"].startswith(str(self._tree)) else None
            raise refused or TraceError(f"{told['path'] or self._tree}: cannot be copied, so that it could be traced: {told['problem']}")

    def remove(self) -> None:
        """Begin to remove the tree."""
        self._requests.close()
