"""Keep one of several identical files, and let links stand for the others where nothing can tell the difference."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from posixpath import basename, dirname, splitext
from typing import ClassVar

from hatch_mlbundle.binaries.linking import Linking, examine_linking, found_beside
from hatch_mlbundle.filegroups import is_metadata
from hatch_mlbundle.importpaths import PYZ, companion_of, module_of
from hatch_mlbundle.librarynames import names_in
from hatch_mlbundle.links import relative_target, target_of
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Kind, Link
from hatch_mlbundle.optimizer import Context, Json, Optimizer, Options, Risk, option
from hatch_mlbundle.schema import Size
from hatch_mlbundle.testfiles import is_licence
from hatch_mlbundle.units import format_size

_FOREIGN = (Kind.PE, Kind.MACHO)
_SERVED = frozenset(
    ".html .htm .css .js .mjs .map .wasm .svg .png .jpg .jpeg .gif .ico .webp .woff .woff2 .ttf .otf .eot".split()  # noqa: SIM905
)
"""Suffixes of files that web servers give out: several refuse a link that leads out of the folder they serve."""
_PACKAGES = re.compile(r"(?:.*?/)?(?:site|dist)-packages(?=/)")
_SHARED_TOPS = frozenset({"home", "opt", "srv", "usr", "var"})
"""Folders at the root whose folders have nothing to do with each other."""
_WRITTEN = frozenset({".db", ".sqlite", ".sqlite3", ".lock"})
"""Suffixes of files that applications write to: through a link they would write to the other name, too."""


@dataclass(frozen=True, kw_only=True)
class DeduplicateOptions(Options):
    """What is worth a link."""

    min_size: Size = option(
        "Files smaller than this stay: a file system gives blocks, and a link is something to follow.", default=Size(4096)
    )


class Deduplicate(Optimizer[DeduplicateOptions]):
    """Makes identical files links to one of them, where the loader, Python and the system read the same through a link."""

    name = "deduplicate"
    version = "1"
    risk: ClassVar[Risk] = "none"
    artifacts = ("folder", "frozen", "image")
    options_type = DeduplicateOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Link for each copy, or a Keep with what speaks against it, group by group in the order of the paths."""
        groups = self._groups(bundle)
        if _is_for_windows(bundle):
            self._report_windows(groups, context)
            return
        copies = [file for group in groups for file in group]
        elves = [file for file in copies if file.kind is Kind.ELF]
        facts = context.examine(f"{self.name}: linking", elves, lambda file: examine_linking(context.local(file)))
        rules = _Rules(
            bundle=bundle,
            linking={path: Linking.from_json(fact) for path, fact in facts.items() if fact is not None},
            pointed={target_of(file): file.path for file in bundle.of_kind(Kind.LINK)},
            external=_external_data(bundle, copies, context),
            frozen=bool(bundle.of_kind(Kind.FROZEN)),
            home_of=home_in_image if context.artifact == "image" else lambda _: "",
            selects=context.selects,
        )
        for group in groups:
            yield from _link_group(group, rules)

    def _groups(self, bundle: Bundle) -> list[list[File]]:
        """Return the files with the same bytes, mode and rights, two or more, sorted by path."""
        found: defaultdict[tuple[str, int, str], list[File]] = defaultdict(list)
        for path, file in sorted(bundle.items()):
            if file.link is None and file.size >= max(1, self.options.min_size) and f"{PYZ}/" not in path:
                found[file.sha256, file.mode, file.rights].append(file)
        return [group for group in found.values() if len(group) > 1]

    def _report_windows(self, groups: Sequence[Sequence[File]], context: Context) -> None:
        extra = [file for group in groups for file in group[1:]]
        if extra:
            many = f"{len(extra)}, {format_size(sum(file.size for file in extra))}"
            message = f"copies of other files ({many}) stay: making symbolic links takes a right on Windows that few users have"
            context.report(Finding(code="MB401", message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What speaks against a link. `pointed` are the paths that links lead to, `external` those of ONNX external data, each with whose.

    `home_of` returns the folder that a file may be copied elsewhere with, without the rest; `selects` is that of the Context.
    """

    bundle: Bundle
    linking: Mapping[str, Linking]
    pointed: Mapping[str, str]
    external: Mapping[str, str]
    frozen: bool
    home_of: Callable[[str], str]
    selects: Callable[[str], bool]
    neighbours: dict[str, Mapping[str, str | None]] = field(default_factory=dict)

    def alone(self, file: File) -> str | None:
        """Return why a file must stay a file, whatever it is the same as."""
        if file.kind in _FOREIGN:
            return "how libraries of this system are found through links is not known here"
        if file.kind is Kind.FROZEN:
            return "a frozen executable finds its modules in its own file"
        if file.path in self.external:
            return f"external data of {self.external[file.path]}, which onnx does not read through links"
        if splitext(file.path)[1].lower() in _WRITTEN:
            return "it may be written to, and through a link the other would change as well"
        linking = self.linking.get(file.path)
        if file.kind is Kind.ELF and linking is None:
            return "its headers cannot be believed"
        if linking.extension if linking else module_of(file.path) or companion_of(file.path):
            return "a Python module may look for files beside the place that its link leads to"
        return None

    def together(self, file: File, target: File) -> str | None:
        """Return why a file cannot be a link to `target`, which has the same bytes and mode."""
        same_folder = dirname(file.path) == dirname(target.path)
        if _folded(file.path) == _folded(target.path):
            return f"where case does not count, it and {target.path} are one name"
        if self.home_of(file.path) != self.home_of(target.path):
            return f"{target.path} lies in another environment or application, and either may be copied without the other"
        if file.owner != target.owner and not self.frozen:
            return f"{target.path} belongs to {target.owner}, which may be removed or upgraded by itself"
        if file.owner != target.owner and (is_metadata(file.path) or is_licence(file.path)):
            return f"it goes with {file.owner}, and {target.path} with {target.owner}"
        if not same_folder and splitext(file.path)[1].lower() in _SERVED:
            return f"a web server may refuse a link out of its folder, to {target.path}"
        if not same_folder and splitext(file.path)[1].lower() == ".onnx":
            return "external data is looked for beside the place that a model's link leads to"
        if file.kind is Kind.ELF:
            return self._elf(file, target, same_folder=same_folder)
        return None

    def _elf(self, file: File, target: File, *, same_folder: bool) -> str | None:
        """Two names of one file are one library to the loader, which takes `$ORIGIN` from the name that was used first."""
        linking = self.linking[file.path]
        if linking.executable:
            return None if same_folder else f"a program looks for files beside its own, which would be beside {target.path}"
        if linking.soname is None:
            return f"without a SONAME it and {target.path} are two libraries with data of their own, which a link would make one"
        if same_folder:
            return None
        if {basename(file.path), basename(target.path)} != {linking.soname}:
            return f"the loader takes it and {target.path} for two libraries: their names are not both the SONAME"
        if linking.looks_at_itself:
            return f"it asks the loader where it lies, and might be told where {target.path} lies"
        if self._beside(file) != self._beside(target):
            return f"what it needs is found beside it as other files than beside {target.path}"
        return None

    def _beside(self, file: File) -> Mapping[str, str | None]:
        if file.path not in self.neighbours:
            self.neighbours[file.path] = found_beside(file.path, self.linking[file.path], self.bundle)
        return self.neighbours[file.path]


def _link_group(group: Sequence[File], rules: _Rules) -> Iterator[Change]:
    """Go through files with the same bytes, the one to stay first; a link always leads to a file that stays."""
    staying: list[File] = []
    for file in sorted(group, key=lambda file: _rank(file, rules)):
        if reason := rules.alone(file):
            yield Keep(path=file.path, reason=f"has a copy, but {reason}")
            continue
        if not rules.selects(file.path):
            staying.append(file)
            continue
        reasons = {target.path: rules.together(file, target) for target in staying}
        fitting = next((path for path, reason in reasons.items() if reason is None), None)
        if file.path in rules.pointed and staying:
            yield Keep(path=file.path, reason=f"has a copy, but the link {rules.pointed[file.path]} leads to it")
        elif fitting is not None:
            yield Link(path=file.path, reason=f"the same bytes as {fitting}", target=relative_target(file.path, fitting))
            continue
        elif staying:
            yield Keep(path=file.path, reason=f"has a copy, but {reasons[staying[0].path]}")
        staying.append(file)


def _rank(file: File, rules: _Rules) -> tuple[bool, bool, bool, int, int, str]:
    """Put first what must not be changed, what links lead to, then what the loader knows by its SONAME, then what lies highest."""
    linking = rules.linking.get(file.path)
    by_soname = linking is not None and linking.soname == basename(file.path)
    untouched = not rules.selects(file.path)
    return not untouched, file.path not in rules.pointed, not by_soname, file.path.count("/"), len(file.path), file.path


def home_in_image(path: str) -> str:
    """Return the environment's `site-packages` that a file of an image lies in, else its folder near the root: `app`, `opt/app`."""
    packages = _PACKAGES.match(path)
    if packages:
        return packages[0]
    parts = path.split("/")
    return "/".join(parts[: 2 if parts[0] in _SHARED_TOPS else 1])


def _is_for_windows(bundle: Bundle) -> bool:
    """A bundle for Linux may hold Windows programs, too: setuptools' launchers."""
    return bool(bundle.of_kind(Kind.PE)) and not bundle.of_kind(Kind.ELF, Kind.MACHO)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _external_data(bundle: Bundle, copies: Sequence[File], context: Context) -> dict[str, str]:
    """Return the copies that an ONNX model above or beside them names, each with the model."""
    models = [file for path, file in sorted(bundle.items()) if path.lower().endswith(".onnx") and file.link is None]
    below = {model.path: [file for file in copies if file.path.startswith(_folder(model)) and file is not model] for model in models}
    names = {path: tuple(sorted({basename(file.path) for file in files})) for path, files in below.items()}
    asked = [model for model in models if names[model.path]]
    wanted = tuple(sorted({name for each in names.values() for name in each}))
    facts = context.examine(f"deduplicate: names {wanted}", asked, partial(_examine_names, names=wanted))
    return {file.path: model.path for model in asked for file in below[model.path] if basename(file.path) in facts[model.path]}


def _folder(file: File) -> str:
    return f"{dirname(file.path)}/" if "/" in file.path else ""


def _examine_names(file: File, *, names: Sequence[str]) -> Json:
    """A model names its external data in UTF-8 (onnx.proto3, TensorProto.external_data)."""
    return names_in(file.content, names)
