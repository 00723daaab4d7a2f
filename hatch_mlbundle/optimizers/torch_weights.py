"""What becomes of PyTorch weights that have a safetensors form: the second copies that go, and the conversions, whole models at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from posixpath import basename

from hatch_mlbundle.errors import KeptError, ModelError
from hatch_mlbundle.links import link_to
from hatch_mlbundle.model import Bundle, Change, Convert, Drop, File, Finding, Keep, Kind
from hatch_mlbundle.models.torch_duplicates import first_difference, safetensors_digests, torch_digests
from hatch_mlbundle.models.torch_names import (
    LARGEST_INDEX,
    Family,
    family,
    is_index,
    new_index,
    read_index,
    safetensors_found,
    safetensors_path,
)
from hatch_mlbundle.models.torch_shrink import convert as convert_file
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Json


def duplicates(bundle: Bundle, facts: Mapping[str, Json], context: Context) -> dict[str, Change]:
    """Return what becomes of the PyTorch weights that have safetensors of the same model beside them, by path.

    `facts` is known of PyTorch files (torch_shrink.py, `examine`). All files of a model go, or none.
    """
    changes: dict[str, Change] = {}
    for kin, files in _families(bundle, lambda path: not path.endswith(".safetensors")).items():
        weights = [file for file in files if not is_index(file.path)]
        beside = [file for path, file in bundle.items() if path.endswith(".safetensors") and family(path) == kin and _has_bytes(file)]
        known = all("tensors" in facts.get(file.path, {}) for file in weights)
        if not weights or not beside or not known or not all(context.selects(file.path) for file in files):
            continue
        other = basename(beside[0].path)
        problem: str | None = "is a part of a model whose index is not there"
        if linking := _linking(files, bundle):
            problem = f"has not the name that {linking} links to"
        elif any(path in bundle for path in safetensors_found(kin)):
            problem = _why_not_twice(_digests(weights, torch_digests, context), _digests(beside, safetensors_digests, context))
        if problem is None:
            reason = f"{other} beside it, which loaders prefer, holds the same tensors"
            changes |= {file.path: Drop(path=file.path, reason=reason) for file in files}
        else:
            changes |= {file.path: Keep(path=file.path, reason=f"{other} beside it {problem}") for file in weights}
    return changes


def conversions(bundle: Bundle, facts: Mapping[str, Json], context: Context) -> dict[str, Change]:
    """Return a Convert for each model whose PyTorch files can all be safetensors, by path; report (MB713) why others cannot."""
    changes: dict[str, Change] = {}
    for files, index in _models(bundle, facts):
        first = (index or files[0]).path
        if any("saves" not in facts[file.path] for file in files):
            continue  # what is wrong with it is told otherwise
        try:
            _check(files, index, facts, bundle, context)
        except (KeptError, ModelError) as error:
            _report(first, str(error).removeprefix(f"{first}: "), context)
            continue
        sources = [file.path for file in files] + ([index.path] if index else [])
        outputs = tuple(safetensors_path(path) for path in sources)
        twin = next(
            (path for change in changes.values() if isinstance(change, Convert) for path in change.outputs if path in outputs), None
        )
        if twin:
            _report(first, f"another file becomes {basename(twin)}, too", context)
            continue
        saves = sum(file.size - facts[file.path]["size"] for file in files)
        if saves > 0:
            changes[first] = Convert(
                path=first,
                reason="safetensors instead of a PyTorch file, of the same tensors",
                sources=tuple(sources),
                outputs=outputs,
                saves=saves,
            )
    return changes


def convert(task: ConvertTask, *, drop_training_state: bool) -> dict[str, Detail]:
    """Carry out a Convert that `conversions` made; raises as `torch_shrink.convert` does."""
    details: dict[str, Detail] = {}
    places: dict[str, str] = {}
    total = 0
    for path in filter(lambda path: not is_index(path), task.change.sources):
        output = safetensors_path(path)
        target = task.target / output
        target.parent.mkdir(parents=True, exist_ok=True)
        plan, details[output] = convert_file(task.sources[path], target, drop_training_state=drop_training_state)
        places |= dict.fromkeys(plan.tensors, basename(output))
        total += sum(tensor.nbytes for tensor in plan.tensors.values())
    for path in filter(is_index, task.change.sources):
        index = read_index(path, task.sources[path].read_bytes())
        (task.target / safetensors_path(path)).write_bytes(new_index(index, places, total))
    return details


def _report(path: str, problem: str, context: Context) -> None:
    context.report(Finding(code="MB713", path=path, message=f"{problem}; it stays a PyTorch file"))


def _families(bundle: Bundle, wanted: Callable[[str], bool]) -> dict[Family, list[File]]:
    found: dict[Family, list[File]] = {}
    for path, file in sorted(bundle.items()):
        kin = family(path) if wanted(path) and _has_bytes(file) else None
        if kin:
            found.setdefault(kin, []).append(file)
    return found


def _has_bytes(file: File) -> bool:
    return file.kind is not Kind.LINK


def _linking(files: list[File], bundle: Bundle) -> str | None:
    """Return the path of a link that would lead nowhere without these files."""
    return next((link for file in files if (link := link_to(bundle, file.path))), None)


def _why_not_twice(ours: list[Json], theirs: list[Json]) -> str | None:
    if None in ours or None in theirs:
        return "cannot be compared with it"
    difference = first_difference(chain.from_iterable(ours), chain.from_iterable(theirs))
    return None if difference is None else f"has no tensor {difference[:80]!r} like its own"


def _digests(files: list[File], digest: Callable[..., list[Json]], context: Context) -> list[Json]:
    """Return the digests of each file's tensors; None for a file that cannot be read so."""

    def safely(file: File) -> Json:
        try:
            return digest(context.local(file))
        except (KeptError, ModelError):
            return None

    facts = context.examine(digest.__name__, files, safely)
    return [facts[file.path] for file in files]


def _models(bundle: Bundle, facts: Mapping[str, Json]) -> Iterator[tuple[list[File], File | None]]:
    """Yield the files of each model, with their index where they have one."""
    sharded: set[str] = set()
    for kin, (index, *_) in _families(bundle, is_index).items():
        shards = [bundle[path] for path in sorted(facts) if family(path) == kin]
        if shards:
            sharded |= {file.path for file in shards}
            yield shards, index
    for path in sorted(facts):
        if path not in sharded:
            yield [bundle[path]], None


def _check(files: list[File], index: File | None, facts: Mapping[str, Json], bundle: Bundle, context: Context) -> None:
    """Raise KeptError, or ModelError, where the model cannot be converted as a whole."""
    for file in files:
        if "unfit" in facts[file.path]:
            raise KeptError(facts[file.path]["unfit"])
    taken = next((path for file in files if (path := safetensors_path(file.path)) in bundle), None)
    if taken:
        raise KeptError(f"{basename(taken)} is there already, and is not the same")
    kin = family(files[0].path)
    preferred = next((path for path in safetensors_found(kin) if path in bundle), None) if kin else None
    if preferred:
        raise KeptError(f"{basename(preferred)} is there already, and another could be taken for it")
    if linking := _linking([*files, *([index] if index else [])], bundle):
        raise KeptError(f"{linking} links to it, and would lead nowhere")
    if index:
        _check_index(files, index, facts, bundle, context)


def _check_index(files: list[File], index: File, facts: Mapping[str, Json], bundle: Bundle, context: Context) -> None:
    if index.size > LARGEST_INDEX or not context.selects(index.path):
        raise KeptError("its index is too large to be read, or is not to be changed")
    places = read_index(index.path, index.read())["weight_map"]
    held = {name: basename(file.path) for file in files for name in facts[file.path]["tensors"]}
    if places != held:
        name = min(name for name in {*places, *held} if places.get(name) != held.get(name))
        raise ModelError(f"{index.path}: names other tensors or files than there are: {name[:80]!r}")
    if safetensors_path(index.path) in bundle:
        raise KeptError(f"{basename(safetensors_path(index.path))} is there already")
