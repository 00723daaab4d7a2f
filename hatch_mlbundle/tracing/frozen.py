"""Trace a frozen application: its executables with the hook in them, beside links to all its other files."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.executable import Executable, open_executables
from hatch_mlbundle.bundles.executable_writer import save
from hatch_mlbundle.bundles.housing import why_not
from hatch_mlbundle.bundles.script_code import script_code
from hatch_mlbundle.errors import TraceError
from hatch_mlbundle.storage import storage_errors

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
        module.start_frozen({records!r}, {executable!r}, {depth}, {bundle!r})
    except Exception:
        pass
{name}()
del {name}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Double:
    """A folder at `path` that looks like a bundle, what is in the bundle itself, and its executables."""

    path: Path
    inventory: Inventory
    executables: Mapping[str, Executable]


@contextmanager
def double_of(folder: Path, records: Path) -> Iterator[Double]:
    """Give a folder with links to all of the one-folder bundle `folder`, but for its executables: those write to `records` what they use.

    What the application does to its own files, it does to the user's, as without tracing. Raises TraceError, StorageError,
    MissingProgramError.
    """
    system = Path(tempfile.gettempdir())
    with storage_errors(system), tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as place:
        path = Path(place, folder.name)
        path.mkdir()
        with open_executables(folder) as executables:
            _hook(path, executables, records, folder)
            for entry in folder.iterdir():
                if entry.name not in executables:
                    (path / entry.name).symlink_to(entry)
            yield Double(path=path, inventory=read_inventory(folder), executables=executables)


@contextmanager
def hooked(tree: Path, records: Path) -> Iterator[None]:
    """Put the hook into the executables of a bundle that is ours to change; afterwards they are as before."""
    with storage_errors(tree), ExitStack() as stack:
        aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tree.parent))
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        (aside / "before").mkdir()
        (aside / "hooked").mkdir()
        with open_executables(tree) as executables:
            _hook(aside / "hooked", executables, records, tree)
        for path in (aside / "hooked").iterdir():
            (tree / path.name).rename(aside / "before" / path.name)
            stack.callback((aside / "before" / path.name).replace, tree / path.name)
            path.rename(tree / path.name)
        yield


def _hook(folder: Path, executables: Mapping[str, Executable], records: Path, bundle: Path) -> None:
    """Write the executables of a bundle, with the hook in them, into an empty folder."""
    for name, executable in executables.items():
        problem = why_not(executable.file, executable.archive)
        if problem:
            raise TraceError(f"{executable.file.path}: cannot be traced: {problem}")
        target = folder / name
        save(executable.rebuilt(executable.paths(), scripts=[(NAME, _code(executable, records, bundle))]), target)
        target.chmod(stat.S_IMODE(executable.file.path.stat().st_mode))


def _code(executable: Executable, records: Path, bundle: Path) -> bytes:
    hook = script_code(executable, _HOOK.read_text(encoding="utf-8"), _HOOK.name)
    script = _SCRIPT.format(
        name=f"_{NAME}",
        code=hook,
        records=str(records),
        executable=executable.path,
        depth=1 if executable.archive.contents_folder else 0,
        bundle=str(bundle),
    )
    return script_code(executable, script, f"{NAME}.py")
