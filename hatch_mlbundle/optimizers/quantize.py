"""Store model weights in fewer bits: safetensors files in float16, bfloat16 or 8-bit integers, each tensor with its error measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, join
from typing import TYPE_CHECKING, ClassVar, Literal

from hatch_mlbundle.accuracy.stage import model_files, model_root
from hatch_mlbundle.errors import ConfigurationError, ModelError, without_path
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.links import link_to
from hatch_mlbundle.model import Bundle, Change, Convert, File, Finding, Keep
from hatch_mlbundle.optimizer import EVERY_KIND, Context, ConvertTask, Detail, Json, Optimizer, Options, Risk, option
from hatch_mlbundle.runtime.container import SUFFIX as PACKED_SUFFIX
from hatch_mlbundle.runtime.weights import is_signpost
from hatch_mlbundle.units import format_size

if TYPE_CHECKING:
    from hatch_mlbundle.models.gates import Policy
    from hatch_mlbundle.models.weight_sets import WeightSet

_POSITIONS = (
    "*position_embedding*",
    "*positional_embedding*",
    "*embed_positions*",
    "*pos_embed*",
    "*relative_attention_bias*",
    "*wpe.weight",
    "*token_type_embedding*",
    "*segment_embedding*",
)
_LARGEST_CONFIG = 10_000_000
"""Bytes of the largest `config.json` that is read."""
_RANGES = {"min-sqnr": (0.0, 150.0), "group-size": (8, 65536), "min-count": (1, 2**31)}


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(Options):
    """How weights are stored, and which stay as they are."""

    dtype: Literal["float16", "bfloat16", "int8"] = option(
        "What weights are stored as, where they allow it. `float16` and `bfloat16` files are read by every loader; those of `int8` need "
        "`hatch_mlbundle.runtime.install()` in the application.",
        default="float16",
    )
    min_sqnr: float = option(
        "Signal-to-quantization-noise ratio in dB that each tensor must keep; one that would not is stored more finely.", default=35.0
    )
    group_size: int = option("`int8`: elements that share a scale where one for the whole row is too coarse.", default=32)
    min_count: int = option("`int8`: tensors of fewer elements stay as they are.", default=4096)
    keep: tuple[str, ...] = option("Globs of the names of tensors that stay as they are.", default=())
    keep_names: tuple[str, ...] = option(
        "`int8`: more such globs, by default of position and token-type embeddings, which are small and need their precision.",
        default=_POSITIONS,
    )
    compute_dtype: bool = option(
        "Write `float32` as the dtype to compute in into a transformers model's `config.json` where its weights come to have 16 bits and "
        "it says nothing: otherwise transformers computes in 16 bits, which most CPUs do slowly.",
        default=True,
    )


class Quantize(Optimizer[QuantizeOptions]):
    """Stores the weights of safetensors files in fewer bits; each tensor's error is measured, and bounded."""

    name = "quantize"
    version = "1"
    lossless: ClassVar[bool] = False
    risk: ClassVar[Risk] = "medium"
    artifacts = EVERY_KIND
    options_type = QuantizeOptions

    def programs(self) -> Mapping[str, str]:
        """Return the versions of numpy and ml_dtypes; raises MissingLibraryError."""
        return library_versions(self.name, "ml-dtypes", "numpy")

    def inputs(self, project: Path) -> Mapping[str, str]:
        """Return nothing; raises ConfigurationError for numbers out of their range."""
        values = {"min-sqnr": self.options.min_sqnr, "group-size": self.options.group_size, "min-count": self.options.min_count}
        faults = [
            f"tool.mlbundle.{self.name}.{key}: must be from {low:g} to {high:g}, not {values[key]:g}"
            for key, (low, high) in _RANGES.items()
            if not low <= values[key] <= high
        ]
        if faults:
            raise ConfigurationError(faults)
        return {}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each set of files that belong together, or, where accuracy is measured, for each model."""
        weights = [file for path, file in sorted(bundle.items()) if _is_weights(file) and context.selects(path)]
        facts = context.examine("safetensors", weights, lambda file: self._examine(file, context))
        ready: list[WeightSet] = []
        for each in self._sets(bundle, weights, facts, context):
            reason = self._why_kept(each, bundle, facts, context)
            if reason is None:
                ready.append(self._with_config(each, bundle, facts, context))
            elif reason:
                yield Keep(path=each.shards[0], reason=reason)
        yield from self._converts(ready, bundle, facts, context)

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the files of the Convert; raises ModelError, KeptError, UnsoundResultError."""
        from hatch_mlbundle.models.model_quantizing import ModelFiles
        from hatch_mlbundle.models.weight_sets import sets_of
        from hatch_mlbundle.optimizers.quantize_work import carry_out

        files = ModelFiles(sets=sets_of(task.change.key), places=task.sources)
        return carry_out(task, files, self._policy(), context.judge)

    def _policy(self) -> Policy:
        from hatch_mlbundle.models.gates import Policy, named

        options = self.options
        return Policy(
            target=options.dtype,
            min_sqnr=options.min_sqnr,
            group=options.group_size,
            min_count=options.min_count,
            keeps=named(options.keep),
            delicate=named(options.keep_names),
        )

    def _examine(self, file: File, context: Context) -> Json:
        """Return the bytes that a file would lose at best and the dtypes of its floats, or what is wrong with it."""
        from hatch_mlbundle.models.quantizing import best_size
        from hatch_mlbundle.models.safetensors import read_header

        path = context.local(file)
        if is_signpost(path):
            return {"kept": "its weights are packed already"}
        try:
            header = read_header(path)
        except ModelError as error:
            return {"broken": without_path(error, path)}
        floats = sorted({each.dtype for each in header.tensors if each.dtype.startswith(("F", "BF"))})
        return {"saves": header.size - best_size(header, self._policy()), "floats": floats}

    def _sets(self, bundle: Bundle, weights: Sequence[File], facts: Mapping[str, Json], context: Context) -> list[WeightSet]:
        """Return the files that belong together, but for those of an index that cannot be believed, which is reported."""
        from hatch_mlbundle.models.sharded import INDEX_SUFFIX
        from hatch_mlbundle.models.weight_sets import weight_sets

        folders = {dirname(file.path) for file in weights}
        indices = [file for path, file in sorted(bundle.items()) if path.endswith(INDEX_SUFFIX) and file.link is None]
        files = [file for file in indices if dirname(file.path) in folders]
        found = context.examine("index", files, _examine_index)
        shards: dict[str, list[str]] = {}
        for file in files:
            problem = found[file.path].get("broken") or _missing_shard(file.path, found[file.path]["shards"], bundle)
            if problem:
                context.report(Finding(code="MB702", path=file.path, message=f"{problem}; its weights stay as they are"))
            else:
                shards[file.path] = found[file.path]["shards"]
        lost = {dirname(file.path) for file in files} - {dirname(path) for path in shards}
        known = [path for path in bundle if dirname(path) not in lost]
        mine = {file.path for file in weights}
        return [each for each in weight_sets(known, shards) if mine.intersection(each.shards)]

    def _why_kept(self, weights: WeightSet, bundle: Bundle, facts: Mapping[str, Json], context: Context) -> str | None:
        """Return why a set stays as it is, "" where a finding says it, None where it can be changed."""
        if not all(path in facts for path in weights.shards):
            return "one of the files that belong together is a link, or is excluded"
        if weights.index and matcher(self.options.exclude)(weights.index):
            return "its index is excluded"
        broken = [path for path in weights.shards if "broken" in facts[path]]
        for path in broken:
            context.report(Finding(code="MB701", path=path, message=f"{facts[path]['broken']}; it stays as it is"))
        if broken:
            return "another file of its model is damaged" if weights.shards[0] not in broken else ""
        kept = next((facts[path]["kept"] for path in weights.shards if "kept" in facts[path]), None)
        if kept is None and sum(facts[path]["saves"] for path in weights.shards) <= 0:
            kept = f"no tensor of it would be smaller as {self.options.dtype}"
        if kept is None and self.options.dtype == "int8":
            kept = _why_not_renamed(weights, bundle)
        return kept

    def _with_config(self, weights: WeightSet, bundle: Bundle, facts: Mapping[str, Json], context: Context) -> WeightSet:
        """Return the set with its configuration only where that has to be changed with it."""
        from hatch_mlbundle.models.compute_dtype import with_float32
        from hatch_mlbundle.models.weight_sets import WeightSet

        path = weights.config
        floats = {each for shard in weights.shards for each in facts[shard]["floats"]}
        wanted = self.options.compute_dtype and self.options.dtype != "int8" and floats == {"F32"}
        if path and wanted and bundle[path].link is None and not matcher(self.options.exclude)(path):
            try:
                text = _config_text(bundle[path])
                if with_float32(text, path) != text:
                    return weights
            except (ModelError, UnicodeDecodeError) as error:
                context.report(Finding(code="MB703", path=path, message=f"the dtype to compute in cannot be written: {error}"))
        return WeightSet(shards=weights.shards, index=weights.index)

    def _converts(self, ready: Sequence[WeightSet], bundle: Bundle, facts: Mapping[str, Json], context: Context) -> Iterable[Change]:
        """Yield the conversions; what is measured together is one."""
        groups: dict[str, list[WeightSet]] = {}
        roots: dict[str, str | None] = {}
        for each in ready:
            root = model_root(bundle, each.shards[0]) if context.judge else None
            group = each.shards[0] if root is None else f"{root}/"
            groups.setdefault(group, []).append(each)
            roots[group] = root
        for group, sets in groups.items():
            root = roots[group]
            yield self._convert(sets, [] if root is None else model_files(bundle, root), facts)

    def _convert(self, sets: Sequence[WeightSet], beside: Iterable[str], facts: Mapping[str, Json]) -> Convert:
        from hatch_mlbundle.models.weight_sets import text_of

        shards = [path for each in sets for path in each.shards]
        others = [path for each in sets for path in (each.index, each.config) if path]
        packed = [f"{path}{PACKED_SUFFIX}" for path in shards] if self.options.dtype == "int8" else []
        sources = (*shards, *(others if not packed else ()))
        saves = sum(facts[path]["saves"] for path in shards)
        return Convert(
            path=shards[0],
            reason=f"weights as {self.options.dtype}, {format_size(saves)} less",
            sources=sources,
            outputs=(*sources, *packed),
            reads=tuple(path for path in dict.fromkeys((*others, *beside)) if path not in sources),
            saves=saves,
            key=text_of(sets),
        )


def _is_weights(file: File) -> bool:
    return file.path.endswith(".safetensors") and file.link is None


def _examine_index(file: File) -> Json:
    from hatch_mlbundle.models.sharded import LARGEST_INDEX, read_index

    if file.size > LARGEST_INDEX:
        return {"broken": f"it has more than {format_size(LARGEST_INDEX)}"}
    try:
        return {"shards": list(read_index(file.read().decode(), file.path).shards)}
    except (ModelError, UnicodeDecodeError) as error:
        return {"broken": str(error).removeprefix(f"{file.path}: ")}


def _config_text(file: File) -> str:
    """Return the text of a configuration; raises ModelError, UnicodeDecodeError."""
    if file.size > _LARGEST_CONFIG:
        raise ModelError(f"it has more than {format_size(_LARGEST_CONFIG)}")
    return file.read().decode()


def _missing_shard(index: str, names: Iterable[str], bundle: Bundle) -> str | None:
    missing = [name for name in names if join(dirname(index), name) not in bundle]
    return f"it names {missing[0]}, which is not there" if missing else None


def _why_not_renamed(weights: WeightSet, bundle: Bundle) -> str | None:
    """Return why weights cannot go to another name: what links to them would lead to the signpost, or the name is taken."""
    for path in weights.shards:
        if f"{path}{PACKED_SUFFIX}" in bundle:
            return f"{path}{PACKED_SUFFIX} is there already"
        if linking := link_to(bundle, path):
            return f"{linking} links to it, and would not lead to the packed file"
    return None
