"""Find which modules of those that are to go something that stays cannot do without, and all that they need in their turn."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from .bytecode import examine_bytecode
from .frozenmodules import FrozenModules, archive_of
from .importpaths import is_compiled
from .importtime import Needs, examine_needs
from .model import Bundle, File, Kind
from .optimizer import Context, Json
from .pysource import References, examine_names, examine_references
from .unmarshal import Unmarshaller

KNOWN = frozenset(
    """
    torch torchvision torchaudio torchgen functorch transformers diffusers tokenizers safetensors huggingface_hub hf_xet accelerate peft
    sentence_transformers onnxruntime numpy scipy sklearn pandas joblib threadpoolctl sympy mpmath networkx PIL matplotlib jinja2
    markupsafe rich pygments tqdm filelock fsspec yaml regex requests urllib3 httpx httpx2 httpcore httpcore2 h11 anyio idna certifi
    charset_normalizer packaging pydantic pydantic_core typing_extensions typing_inspection annotated_types click typer setuptools
    pkg_resources _distutils_hack attr attrs cffi pycparser cryptography psutil importlib_metadata zipp six dateutil pytz numba llvmlite
    truststore markdown_it mdurl IPython pytest _pytest hypothesis
    """.split()  # noqa: SIM905 - one name a line would be 70 lines
)
"""Packages of which we know that what they import inside functions is optional; of any other it is taken for needed."""


class ModuleNeeds:
    """What the modules of a bundle import, each read once; `quick` may help to read them."""

    def __init__(self, bundle: Bundle, modules: FrozenModules, context: Context, quick: Unmarshaller | None = None) -> None:
        self._bundle, self._modules, self._context = bundle, modules, context
        self._examine = partial(examine_needs, quick=quick)
        self._read: dict[str, Needs] = {}

    def of(self, names: Iterable[str]) -> Iterator[tuple[str, str, Needs]]:
        """Yield the name, the file and the needs of each of these modules, in the order of their names."""
        files = [(name, path) for name in sorted(names) for path in self._readable(name)]
        missing = [self._bundle[path] for _, path in files if path not in self._read]
        for path, facts in self._context.examine("needs", missing, self._examine).items() if missing else ():
            self._read[path] = Needs.from_json(facts)
        yield from ((name, path, self._read[path]) for name, path in files)

    def _readable(self, name: str) -> list[str]:
        """Return what is run when a module is imported: its bytecode in an archive, else its source."""
        paths = [path for path in self._modules.files[name] if self._bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON)]
        inside = [path for path in paths if archive_of(path)]
        return inside or [path for path in paths if self._bundle[path].kind is Kind.PYTHON] or paths


class Closure:
    """What stays of the modules that are to go (`going`): `kept` says why, by dotted name; `unread` what could not be read.

    `scripts` are the application's entry points, which lie in no archive; of the top-level packages in `whole` all stays if anything does.
    """

    def __init__(
        self,
        bundle: Bundle,
        modules: FrozenModules,
        going: Collection[str],
        scripts: Sequence[File],
        needs: ModuleNeeds,
        whole: Collection[str] = (),
    ) -> None:
        self.kept: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self._bundle, self._modules, self._going, self._scripts = bundle, modules, frozenset(going), scripts
        self._fresh: list[str] = []
        self._parts: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._going):
            if name.partition(".")[0] in whole:
                self._parts[name.partition(".")[0]].append(name)
        self._needs = needs

    def keep(self, name: str, reason: str) -> None:
        """Keep a module with the packages it lies in; the first reason stands."""
        for each in (name, *self._modules.above(name)):
            if each in self._going and each not in self.kept:
                self.kept[each] = reason if each == name else f"package of {name}, which stays"
                self._fresh.append(each)
                top = each.partition(".")[0]
                for part in self._parts.pop(top, ()):
                    self.keep(part, f"{top} stays whole")

    def trace(self, context: Context) -> None:
        """Follow what the application's scripts and all modules that stay import."""
        for path, facts in context.examine("imports", self._scripts, _examine_imports).items():
            for each in References.from_json(facts).imports:
                for target in self._modules.resolve("", each.level, each.module, each.names):
                    self.keep(target, f"{path} imports it")
        staying = [name for name in self._modules.files if name not in self._going]
        for name in staying:
            for package in self._modules.above(name):
                self.keep(package, f"package of {name}, which stays")
        self._follow_native(context, staying)
        self._follow_modules(staying)
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            self._follow_modules(fresh)

    def _follow_modules(self, names: Iterable[str]) -> None:
        for name, path, needs in self._needs.of(names):
            if needs.error and self._bundle[path].kind is Kind.BYTECODE:  # source that is none cannot be imported
                self.unread[path] = needs.error
            for level, module, imported in (*needs.first, *(() if is_known(name) else needs.later)):
                for target in self._modules.resolve(name, level, module, imported):
                    self.keep(target, f"{name} imports it")

    def _follow_native(self, context: Context, staying: Iterable[str]) -> None:
        """Compiled modules of packages that are not known hold the names that they import as strings."""
        paths = [path for name in staying if not is_known(name) for path in self._modules.files[name] if is_compiled(path)]
        words = sorted({name.rpartition(".")[2] for name in self._going}) if paths else []
        facts = context.examine(f"names:{words}", [self._bundle[path] for path in sorted(paths)], partial(examine_names, words=words))
        for path, names in facts.items():
            for name in names:
                self.keep(name, f"{path} holds its name")


def _examine_imports(file: File) -> Json:
    """All imports of a script count, guarded or not: what an application uses where it is there is part of it."""
    return examine_bytecode(file, words=()) if file.kind is Kind.BYTECODE else examine_references(file, words=())


def is_known(name: str) -> bool:
    """Say whether a module belongs to the standard library or to a package in KNOWN."""
    top = name.partition(".")[0]
    return top in KNOWN or top in sys.stdlib_module_names or re.fullmatch(r"_sysconfigdata_\w+", top) is not None


def used_attributes(files: Mapping[str, Needs]) -> dict[str, str]:
    """Return which attributes the files mention, and the first file that does."""
    found: dict[str, str] = {}
    for path, needs in sorted(files.items()):
        for attribute in needs.uses:
            found.setdefault(attribute, path)
    return found
