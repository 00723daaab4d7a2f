"""Put into a frozen executable what tells, when it starts, what of this machine its bundle has no code for any more (runtime/machine).

It is a script, as PyInstaller's run-time hooks are, with what the statements in the bundle say.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from hatch_mlbundle.errors import MissingProgramError
from hatch_mlbundle.frozenmodules import archive_of
from hatch_mlbundle.importpaths import PYZ, module_of
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.runtime.machine.statements import LARGEST, base_of, is_statement, parse

from .executable import Executable
from .loader import Compile, source_of, start_of, with_script
from .missing_notice import Scripts
from .script_code import script_code

MACHINE_SCRIPT = "pyi_rth_mlbundle_machine"
"""The script's name; the beginning is that of PyInstaller's run-time hooks."""

_PACKAGE = "mlbundle_machine"
"""What runtime is called there: an application may have hatch_mlbundle itself."""
_MODULES = ("cpu", "machine/gpus", "machine/telling")
_START = f"""\
(lambda space: (
    exec(__import__("marshal").loads(__import__("zlib").decompress({{code!r}})), space),
    space["provide"]({{modules!r}}),
    __import__("{_PACKAGE}.machine.telling", None, None, ["telling"]).tell_at_start({{claims}}),
))({{{{"__name__": "mlbundle_embedded"}}}})
"""


def with_machine_script(executable: Executable, bundle: Bundle) -> tuple[Executable, Scripts]:
    """Return the executable, and the script that it needs: none where no code was taken out, it is there, or nothing compiles it here."""
    try:
        contents = executable.archive.contents_folder
        source = machine_script(bundle, contents, executable.path, lambda text, name: script_code(executable, text, name))
        return with_script(executable, MACHINE_SCRIPT, source) if source else (executable, ())
    except MissingProgramError:  # it would run as well without
        return executable, ()


def machine_script(bundle: Bundle, contents: str, executable: str, compiled: Compile) -> str | None:
    """Return the script's source for an executable of a bundle with this folder of contents, empty for its root.

    None where no code was taken out of a library that it can use.
    """
    if not any(map(is_statement, bundle)):
        return None
    above = f"{contents}/" if contents else ""
    foreign = _packages_of_others(bundle, above, executable)
    claims = [(base, rows) for base, rows in _claims(bundle, above, foreign) if rows]
    if not claims:
        return None
    packages = {_PACKAGE: (True, ""), f"{_PACKAGE}.machine": (True, "")}
    modules = {f"{_PACKAGE}.{name.replace('/', '.')}": (False, source_of(name)) for name in _MODULES}
    return start_of(_START, {**packages, **modules}, compiled, claims=repr(claims))


def _packages_of_others(bundle: Bundle, above: str, executable: str) -> frozenset[str]:
    """Return the packages that other executables of the bundle have in their archives, and this one has not."""
    own: set[str] = set()
    others: set[str] = set()
    for path in bundle:
        archive = archive_of(path)
        if archive and (module := module_of(path)):
            found = own if f"/{archive}".endswith(f"/{executable}{PYZ}/") else others
            found.add(module.removeprefix(above).partition("/")[0])
    return frozenset(others - own)


def _claims(bundle: Bundle, above: str, foreign: Container[str]) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Yield the folder that each statement speaks of, from that of the contents, and what it says of libraries that lost code."""
    for path in sorted(filter(is_statement, bundle)):
        base = base_of(path)
        if not f"{base}/".startswith(above) or bundle[path].size > LARGEST:
            continue
        try:
            rows = parse(bundle[path].read(), path)
        except ValueError:
            continue
        lost = (row for row in rows if row[3] or row[4])
        yield f"{base}/".removeprefix(above).rstrip("/"), [tuple(row) for row in lost if row[0].partition("/")[0] not in foreign]
