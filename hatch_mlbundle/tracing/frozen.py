"""Trace a frozen application: its executables with the hook in them, in a tree of their own where its files are the same."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from hatch_mlbundle.bundles.executable import Executable, open_executables
from hatch_mlbundle.bundles.executable_writer import save
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.script_code import script_code
from hatch_mlbundle.errors import TraceError
from hatch_mlbundle.storage import storage_errors

from .inventory import Inventory

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
_LIBRARY = re.compile(r".*\.(?:so(?:\.\d+)*|pyd|dll|dylib)")
"""Nobody writes into a library where it lies, so these may be links to the user's own; any other file might be written to."""


@contextmanager
def traced_tree(folder: Path, inventory: Inventory, executables: Mapping[str, Executable], records: Path) -> Iterator[Path]:
    """Give a tree like the one-folder bundle `folder` whose executables write to `records` what they use.

    Its libraries are hard links where the file system has such things, its other files are copies: whatever the application does,
    the user's own stays as it is. Raises TraceError, StorageError, MissingProgramError.
    """
    place = _place_near(folder)
    try:
        tree = place / folder.name
        with storage_errors(tree):
            _fill(tree, folder, inventory, executables)
            _hook(tree, executables, records, folder)
        yield tree
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def hooked(tree: Path, records: Path) -> Iterator[None]:
    """Put the hook into the executables of a bundle that is ours to change; afterwards they are as before."""
    with storage_errors(tree):
        aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tree.parent))
    try:
        with open_executables(tree) as executables, storage_errors(tree):
            _hook(aside, executables, records, tree)
        with _exchanged(aside, tree):
            yield
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _exchanged(aside: Path, tree: Path) -> Iterator[None]:
    """Let files of `aside` stand in a tree under their names for a while."""
    former = {tree / path.name: path.with_name(f"{path.name}.former") for path in aside.iterdir()}
    for place, kept in former.items():
        place.rename(kept)
        (aside / place.name).rename(place)
    try:
        yield
    finally:
        for place, kept in former.items():
            kept.replace(place)


def _hook(tree: Path, executables: Mapping[str, Executable], records: Path, originals: Path) -> None:
    for name, executable in executables.items():
        problem = why_not(executable.file, executable.archive)
        if problem:
            raise TraceError(f"{executable.file.path}: cannot be traced: {problem}")
        kept = {executable.path_of(module) for module in executable.modules}
        target = tree / name
        save(executable.rebuilt(kept, scripts=[(NAME, _code(executable, records))]), target)
        target.chmod(stat.S_IMODE((originals / name).stat().st_mode))


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


def _fill(tree: Path, folder: Path, inventory: Inventory, but: Mapping[str, Executable]) -> None:
    tree.mkdir()
    for each in sorted(inventory.folders):
        os.mkdir(f"{tree}/{each}")  # noqa: PTH102 - thousands of them
    for path in inventory.files:
        source, target = f"{folder}/{path}", f"{tree}/{path}"
        if path in inventory.links:
            os.symlink(os.readlink(source), target)  # noqa: PTH211, PTH115 - as written
        elif path not in but and not (_LIBRARY.fullmatch(path) and _link(source, target)):
            _copy(source, target)


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _copy(source: str, target: str) -> None:
    """Copy a file with its mode and times; in the kernel, which shares the bytes where the file system can."""
    with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:  # noqa: PTH123 - thousands of them
        status = os.fstat(read.fileno())
        left = status.st_size
        with suppress(OSError, AttributeError):
            while left > 0 and (done := os.copy_file_range(read.fileno(), written.fileno(), left)):
                left -= done
        if left:
            shutil.copyfileobj(read, written)
    os.chmod(target, stat.S_IMODE(status.st_mode))  # noqa: PTH101 - thousands of them
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
