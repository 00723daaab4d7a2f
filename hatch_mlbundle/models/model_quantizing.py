"""Store the files of a model in fewer bits: its weights, the index that goes with them, and the dtype it is computed in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.models.compute_dtype import with_float32
from hatch_mlbundle.models.gates import Policy, Setting
from hatch_mlbundle.models.packed import signpost
from hatch_mlbundle.models.quantized_check import check_quantized
from hatch_mlbundle.models.quantizing import Quantized, Stored, quantize_file
from hatch_mlbundle.models.safetensors import Header, Tensor, read_header
from hatch_mlbundle.models.sharded import Index, check_shard, read_index, with_total_size
from hatch_mlbundle.models.weight_sets import WeightSet
from hatch_mlbundle.runtime.container import SUFFIX as PACKED_SUFFIX

Start = Callable[[str, Tensor], Setting]
"""Says what to try first for a tensor of the weights at a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the weights at `path`: a file of that name, or a packed one of a longer name and a signpost.

    A file of which no tensor changed stays what it was: there is nothing to load it by but what loaded it before.
    """

    path: str
    header: Header
    quantized: Quantized

    @property
    def packed(self) -> bool:
        """Whether the tensors are in a packed file now."""
        return self.quantized.packed and self.quantized.changed

    @property
    def written(self) -> str:
        """The path of the file that holds the tensors now."""
        return self.path + PACKED_SUFFIX if self.packed else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The weight sets of a model, and where each of their files lies on disk."""

    sets: Sequence[WeightSet]
    places: Mapping[str, Path]

    @property
    def weights(self) -> Iterator[str]:
        """The paths of all files of weights."""
        return (shard for each in self.sets for shard in each.shards)


def quantize_model(files: ModelFiles, target: Path, policy: Policy, start: Start) -> list[Result]:
    """Write the files of the sets anew, each to its path below `target`, and prove the weights sound; return what became of these.

    Packed files are loaded as the originals were: their index and configuration are not written.

    Raises ModelError where a file is not what it has to be, KeptError, UnsoundResultError, OSError.
    """
    return [result for each in files.sets for result in _quantize_set(each, files.places, target, policy, start)]


def _quantize_set(weights: WeightSet, places: Mapping[str, Path], target: Path, policy: Policy, start: Start) -> list[Result]:
    text = places[weights.index].read_text(encoding="utf-8") if weights.index else ""
    index = read_index(text, Path(weights.index).name) if weights.index else None
    results = [_quantize_shard(path, places[path], target, policy, start, index) for path in weights.shards]
    if policy.packed:  # what is loaded is as it was: so is what is said of it
        return results
    if weights.index and index:
        size = sum(each.size for result in results for each in result.quantized.tensors)
        _write(target / weights.index, with_total_size(text, index, size))
    if weights.config:
        config = places[weights.config].read_text(encoding="utf-8")
        _write(target / weights.config, with_float32(config, weights.config))
    return results


def _quantize_shard(path: str, source: Path, target: Path, policy: Policy, start: Start, index: Index | None) -> Result:
    header = read_header(source)
    if index:
        name = Path(path).name
        check_shard(name, index.shards[name], (each.name for each in header.tensors))
    made = target / path
    made.parent.mkdir(parents=True, exist_ok=True)
    result = Result(path=path, header=header, quantized=quantize_file(source, header, made, policy, lambda tensor: start(path, tensor)))
    if not result.quantized.changed:
        shutil.copyfile(source, made)
    else:
        check_quantized(source, header, made, result.quantized)
    if result.packed:
        made.rename(target / result.written)
        made.write_bytes(signpost(made.name))
    return result


def stored_tensors(results: Sequence[Result]) -> dict[tuple[str, str], Stored]:
    """Return what became of each tensor, by the path of its file and its name."""
    return {(result.path, each.tensor.name): each for result in results for each in result.quantized.tensors}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
