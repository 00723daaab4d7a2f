"""Put into a frozen executable what finds the models outside its bundle (runtime/models), where the bundle has a descriptor of such.

An application that imports it has it already, by PyInstaller; what else is to be done is to heed MLBUNDLE_COMMAND before it starts.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME

from .executable import Executable
from .loader import Compile, Source, borrowed, modules_in, source_of, start_of, with_script
from .missing_notice import Scripts
from .needed_modules import needed_modules
from .script_code import script_code

MODEL_SCRIPT = "pyi_rth_mlbundle_models"
"""The script's name; the beginning is that of PyInstaller's run-time hooks."""

_RUNTIME = "hatch_mlbundle.runtime"
_MODELS = f"{_RUNTIME}.models"
_FOLDER = Path(__file__).parents[1] / "runtime"
_START = """\
(lambda space: (
    exec(__import__("marshal").loads(__import__("zlib").decompress({code!r})), space),
    space["provide"]({modules!r}),
    space["heed"]({models!r}),
))({{"__name__": "mlbundle_embedded"}})
"""


def is_descriptor(path: str, contents: str) -> bool:
    """Say whether a path in a bundle is the descriptor that an executable looks for; `contents` is its folder of contents, "" for none."""
    return path == (f"{contents}/{FILE_NAME}" if contents else FILE_NAME)


def with_model_script(executable: Executable, bundle: Bundle) -> tuple[Executable, Scripts]:
    """Return the executable, and the script that it needs: none without a descriptor, or where it has it.

    Raises MissingProgramError where no Python here compiles for the executable's.
    """
    contents = executable.archive.contents_folder
    if not any(is_descriptor(path, contents) for path in bundle):
        return executable, ()
    modules = modules_in(bundle, contents, executable.path)
    source = model_script(modules, lambda text, name: script_code(executable, text, name))
    return with_script(executable, MODEL_SCRIPT, source)


def model_script(modules: Collection[str], compiled: Compile) -> str:
    """Return the script's source for an application that has these modules.

    What it lacks that is no Python, such as `_ssl`, stays out: models can come from elsewhere than the network.
    """
    ours = {} if _MODELS in modules else {name: each for name, each in _runtime().items() if name not in modules}
    found, _ = borrowed([(text, _package_of(name, is_package=package)) for name, (package, text) in ours.items()], modules)
    return start_of(_START, {**ours, **found}, compiled, models=_MODELS)


def _runtime() -> dict[str, Source]:
    """Return the part of the runtime that is about models, what it needs of the rest, and the packages that it lies in, by full names."""
    found: dict[str, Source] = {"hatch_mlbundle": (True, ""), _RUNTIME: (True, source_of("__init__"))}
    waiting = [_MODELS, *(f"{_MODELS}.{path.stem}" for path in sorted((_FOLDER / "models").glob("[a-z]*.py")))]
    while waiting:
        name = waiting.pop()
        path = name.removeprefix(f"{_RUNTIME}.").replace(".", "/")
        is_package = (_FOLDER / path).is_dir()
        text = source_of(f"{path}/__init__" if is_package else path)
        found[name] = (is_package, text)
        needed = needed_modules(text, _package_of(name, is_package=is_package))
        waiting += [each for each in needed if each.startswith(f"{_RUNTIME}.") and each not in found and _is_ours(each)]
    return found


def _is_ours(name: str) -> bool:
    path = _FOLDER / name.removeprefix(f"{_RUNTIME}.").replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def _package_of(name: str, *, is_package: bool) -> str:
    return name if is_package else name.rpartition(".")[0]
