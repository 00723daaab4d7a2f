"""Run a command, and tell which files of its application it used."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hatch_mlbundle.bundles.carchive import find_carchive
from hatch_mlbundle.bundles.executable import Executable, open_executables
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import TraceError
from hatch_mlbundle.models.left_models import models_folder
from hatch_mlbundle.profile import Profile
from hatch_mlbundle.runtime.models.places import MODELS
from hatch_mlbundle.storage import storage_errors

from .frozen import PREFIX, double_of, hooked
from .interpreter import find_interpreter, hook_environment, installed_in, read_installed
from .inventory import Inventory, read_inventory
from .records import Records, read_records
from .through import Passed, run_through
from .watcher import Opened, Watcher

FOLDER = "MLBUNDLE_TRACE"
"""Names the variable with the folder that processes write their records to."""

_ABSOLUTE = re.compile(r"(--?[\w-]+=)?(?:/|[A-Za-z]:[\\/]|~/).*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A run and what it used: its profile, the bytes of every path in the inventory, how it ended.

    `missed` says in a phrase why not all may have been seen, None where it was.
    """

    profile: Profile
    sizes: Mapping[str, int]
    passed: Passed
    missed: str | None

    @property
    def complete(self) -> bool:
        """Whether everything that can be seen was."""
        return self.missed is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Paths of a bundle that a run used; `missed` as for `Traced`."""

    used: frozenset[str]
    missed: str | None


def trace(command: Sequence[str], packages: Sequence[str] = ()) -> Traced:
    """Run a command in the current folder, with our standard streams, and return what it used.

    Its program is in a one-folder bundle of PyInstaller's, a Python, or a script of one; of a Python, `packages` names the
    distributions that count (default: all). Raises TraceError where it is none of these, and where nothing was recorded.
    """
    program = _find_program(command)
    if _is_frozen(program):
        if packages:
            raise TraceError(f"--package: {program} is a frozen application, which is traced as a whole; leave the option out")
        return _trace_frozen(program.resolve(), command)
    python = find_interpreter(program)
    if python is None:
        raise TraceError(f"{program}: is no frozen application, no Python and no script of one; name one of these as the program")
    return _trace_python(python, program, command, packages)


def traced_run(tree: Path, run: Callable[[Mapping[str, str]], T]) -> tuple[T, Seen]:
    """Call `run` with variables to add to the environment of the commands that it runs, and return what it returns and what they used.

    `tree` is a one-folder bundle that is ours to change: while `run` runs, its executables have the hook in them. The variable
    MLBUNDLE_TRACE names a folder that a jail must leave writable. Raises TraceError where no executable of the tree was started.
    """
    inventory = read_inventory(tree)
    with _records() as records, hooked(tree, records):
        with _watching([inventory]) as watcher:
            result = run({FOLDER: str(records)})
        found = read_records(records)
    with open_executables(tree) as executables:
        _check(found, executables, str(tree))
        used, asked = _used(inventory, executables, found, watcher.opened)
    return result, Seen(used=used | asked, missed=watcher.opened.missed)


def traced_python(roots: Sequence[Path], run: Callable[[Mapping[str, str]], T]) -> tuple[T, Seen]:
    """Call `run` as `traced_run` does, for commands that start a Python whose packages are in `roots`; paths are relative to these."""
    inventories = [read_inventory(root) for root in roots]
    with _records() as records:
        with _watching(inventories) as watcher:
            result = run({**hook_environment(records / "hook", roots), FOLDER: str(records)})
        paths = read_records(records).paths | watcher.opened.paths
    used = frozenset[str]().union(*(inventory.used(paths) for inventory in inventories))
    return result, Seen(used=used, missed=watcher.opened.missed)


def traced_folder(tree: Path, run: Callable[[Mapping[str, str]], T]) -> tuple[T, Seen]:
    """Call `run`, without variables, and return what it returns and which files of a folder were opened meanwhile, by anybody."""
    inventory = read_inventory(tree)
    with _watching([inventory]) as watcher:
        result = run({})
    return result, Seen(used=inventory.used(watcher.opened.paths), missed=watcher.opened.missed)


def _trace_frozen(program: Path, command: Sequence[str]) -> Traced:
    with _records() as records, double_of(program.parent, records) as double:
        with _watching([double.inventory]) as watcher:
            environment = {**os.environ, **_models_beside(program.parent), FOLDER: str(records)}
            passed = run_through([str(double.path / program.name), *command[1:]], environment, FOLDER)
        found = read_records(records)
        _check(found, double.executables, command[0])
        used, asked = _used(double.inventory, double.executables, found, watcher.opened)
        sizes = _sizes(double.inventory, double.executables)
    profile = _profile((program.name, *command[1:]), sizes, used, asked)
    return Traced(profile=profile, sizes=sizes, passed=passed, missed=watcher.opened.missed)


def _models_beside(bundle: Path) -> dict[str, str]:
    """Return what leads an application that runs elsewhere to the models beside its own place, where there are some."""
    beside = models_folder(bundle)
    given = os.environ.get(MODELS)
    return {MODELS: os.pathsep.join([*([given] if given else []), str(beside)])} if beside.is_dir() else {}


def _trace_python(python: Path, program: Path, command: Sequence[str], packages: Sequence[str]) -> Traced:
    roots = installed_in(python)
    inventories = read_installed(roots, packages)
    with _records() as records, _records() as place:
        environment = {**os.environ, **hook_environment(place, roots), FOLDER: str(records)}
        with _watching(inventories) as watcher:
            passed = run_through([str(program), *command[1:]], environment, FOLDER)
        found = read_records(records)
    if not found.ran:
        raise TraceError(
            f"{command[0]}: no Python was heard of, so nothing was recorded; options -I, -E and -S (also in a first line `#!`) shut us out"
        )
    paths = found.paths | watcher.opened.paths
    used = frozenset[str]().union(*(inventory.used(paths) for inventory in inventories))
    sizes = {path: size for inventory in inventories for path, size in inventory.files.items()}
    profile = _profile((program.name, *command[1:]), sizes, used)
    return Traced(profile=profile, sizes=sizes, passed=passed, missed=watcher.opened.missed)


def _profile(command: Sequence[str], inventory: Collection[str], used: frozenset[str], asked: frozenset[str] = frozenset()) -> Profile:
    run = (command[0], *map(_without_place, command[1:]))
    return Profile(runs=(run,), used=used, asked=asked, unused=frozenset(inventory) - used - asked)


def _find_program(command: Sequence[str]) -> Path:
    if not command:
        raise TraceError("there is no command to trace; write it behind `--`")
    found = shutil.which(command[0])
    if found is None:
        raise TraceError(f"{command[0]}: there is no such program, or it may not be run; correct the command")
    return Path(found).absolute()


def _is_frozen(program: Path) -> bool:
    with closing(SharedFile(program)) as file:
        archive = find_carchive(file)
        if archive is not None and archive.is_one_file:
            raise TraceError(f"{program}: is a one-file application, which unpacks itself elsewhere; trace it in its one-folder form")
        return archive is not None


@contextmanager
def _records() -> Iterator[Path]:
    """Give a new folder that anybody who runs as part of the command may write to."""
    with storage_errors(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watching(inventories: Iterable[Inventory]) -> Watcher:
    """Return a watcher of the folders that hold files of these inventories."""
    return Watcher((each.root, folder) for each in inventories for folder in each.holding())


def _check(found: Records, executables: Mapping[str, Executable], what: str) -> None:
    """Raise TraceError where a profile would say that modules are unused because nobody looked."""
    if not found.ran:
        raise TraceError(f"{what}: ended before anything was recorded; does it run by itself?")
    unseen = [name for name in sorted(found.ran - found.watched) if executables[name].modules]
    if unseen:
        raise TraceError(f"{unseen[0]}: keeps its modules in a way that is not known; freeze it with another release of PyInstaller")


def _used(
    inventory: Inventory, executables: Mapping[str, Executable], found: Records, opened: Opened
) -> tuple[frozenset[str], frozenset[str]]:
    """Return what was opened or loaded, and what was only asked for; where not every opening was seen, all counts as opened."""
    known, loaded = _modules(executables, found.modules), _modules(executables, found.loaded)
    everything = inventory.used(found.paths | opened.paths | found.ran) | known
    used = everything if opened.missed else inventory.used(opened.paths | found.ran) | loaded
    return used, everything - used


def _modules(executables: Mapping[str, Executable], names: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(
        path for executable, wanted in names.items() for path, module in executables[executable].paths().items() if module.name in wanted
    )


def _sizes(inventory: Inventory, executables: Mapping[str, Executable]) -> dict[str, int]:
    """Return the bytes of every file and module, those of modules taken from their executables."""
    sizes = dict(inventory.files)
    for name, executable in executables.items():
        modules = {path: module.stored for path, module in executable.paths().items()}
        sizes[name] -= sum(modules.values())
        sizes.update(modules)
    return sizes


def _without_place(argument: str) -> str:
    """Return an argument without the folders of an absolute path in it: a profile fits every machine."""
    match = _ABSOLUTE.fullmatch(argument)
    if match is None:
        return argument
    option = match[1] or ""
    return option + re.split(r"[\\/]", argument[len(option) :].rstrip("\\/"))[-1]
