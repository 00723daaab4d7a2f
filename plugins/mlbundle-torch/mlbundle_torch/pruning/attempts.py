"""Prune a model by one amount, into a folder of its own: what would be shipped, and the same as an ordinary model that can be run."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from posixpath import basename
from typing import Any

from hatch_mlbundle.errors import KeptError, ModelError
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.models.casting import ErrorSum
from hatch_mlbundle.models.packed import signpost
from hatch_mlbundle.models.restore import restore
from hatch_mlbundle.models.safetensors import Header, Tensor, read_header
from hatch_mlbundle.optimizer import Detail
from hatch_mlbundle.runtime.signpost import PACKED

from .feedforward import family_of, find_layers
from .neurons import Selection, select, shape_left, width_left, write_selected
from .single import Pruning, errors, plan_pruning, sparse_size, write_dense, write_sparse

EMBEDDINGS = ("*embed*", "*wte*", "*wpe*", "*position*", "*token_type*", "*shared*")
"""Globs of tensors that are no weights of a linear layer although they are matrices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A pruned model: `outputs` are its files by their paths in the bundle, `plain` those that can be run; `size` is of the outputs."""

    amount: float
    outputs: Mapping[str, Path]
    plain: Mapping[str, Path]
    details: Mapping[str, Detail]

    @property
    def size(self) -> int:
        """Bytes of the outputs."""
        return sum(path.stat().st_size for path in self.outputs.values())


def targets_of(header: Header, globs: Sequence[str], min_count: int) -> frozenset[str]:
    """Return the tensors to prune: those that the globs match, else all large matrices but embeddings."""
    wanted, embeddings = matcher(globs), matcher(EMBEDDINGS)
    if globs:
        return frozenset(tensor.name for tensor in header.tensors if wanted(tensor.name))
    matrices = (tensor for tensor in header.tensors if len(tensor.shape) == 2 and tensor.count >= min_count)
    return frozenset(tensor.name for tensor in matrices if not embeddings(tensor.name))


def prune_single(path: str, source: Path, names: frozenset[str], amount: float, folder: Path, *, sparse: bool) -> Attempt:
    """Prune single weights of the file at `path` in the bundle; raises KeptError where nothing can be, UnsoundResultError."""
    pruning = plan_pruning(source, names, amount, sparse=sparse)
    if not pruning.cuts:
        reasons = sorted({*pruning.kept.values()}) or ["no tensor is asked for"]
        raise KeptError(f"nothing to prune: {', '.join(reasons)}")
    plain = folder / "plain.safetensors"
    if sparse:
        packed, post = folder / "packed", folder / "signpost"
        write_sparse(source, packed, pruning)
        post.write_bytes(signpost(basename(path)))
        restore(packed, plain)
        outputs = {f"{path}{PACKED}": packed, path: post}
    else:
        write_dense(source, plain, pruning)
        outputs = {path: plain}
    rows = _single_rows(pruning, errors(source, plain, pruning), sparse=sparse)
    detail: dict[str, Any] = {"structure": "unstructured", "amount": amount, "storage": "sparse" if sparse else "dense", "tensors": rows}
    if not sparse:
        detail["deflated"] = [deflated_size(source), deflated_size(plain)]
    return Attempt(amount=amount, outputs=outputs, plain={path: plain}, details={next(iter(outputs)): detail})


def prune_files(paths: Mapping[str, Path], names: Mapping[str, frozenset[str]], amount: float, folder: Path, *, sparse: bool) -> Attempt:
    """Prune single weights of all files, the tensors named of each; a file of which nothing can be is copied. Raises as `prune_single`."""
    outputs: dict[str, Path] = {}
    plain: dict[str, Path] = {}
    details: dict[str, Detail] = {}
    kept: list[str] = []
    for number, (path, source) in enumerate(paths.items()):
        place = folder / str(number)
        place.mkdir()
        try:
            made = prune_single(path, source, names[path], amount, place, sparse=sparse)
        except KeptError as error:
            kept.append(str(error))
            outputs[path] = place / "copy"
            continue
        outputs, plain, details = {**outputs, **made.outputs}, {**plain, **made.plain}, {**details, **made.details}
    if not plain:
        raise KeptError("; ".join(dict.fromkeys(kept)))
    for path in outputs.keys() & paths.keys() - plain.keys():
        shutil.copyfile(paths[path], outputs[path])
    return Attempt(amount=amount, outputs=outputs, plain=plain, details=details)


def prune_neurons(paths: Mapping[str, Path], config: str, amount: float, folder: Path) -> Attempt:
    """Prune neurons of the model whose weights, index and configuration are at these paths; raises KeptError, ModelError."""
    settings = read_json(paths[config])
    weights = [path for path in paths if path.endswith(".safetensors")]
    headers = {path: read_header(paths[path]) for path in weights}
    family = family_of(settings)
    layers = find_layers(family, settings, [tensor for header in headers.values() for tensor in header.tensors])
    before = settings[family.size_key]
    left = width_left(before, amount)
    selections = select({paths[path]: header for path, header in headers.items()}, layers, left)
    made: dict[str, Path] = {}
    details: dict[str, Detail] = {}
    common = {"structure": "structured", "amount": amount, "neurons": [before, left]}
    for number, path in enumerate(weights):
        made[path] = folder / f"{number}.safetensors"
        lost = write_selected(paths[path], made[path], headers[path], selections)
        details[path] = {**common, "tensors": _neuron_rows(headers[path], selections, lost)}
    made[config] = _write_json(folder / "config.json", {**settings, family.size_key: left})
    for path in paths.keys() - made.keys():
        index = read_json(paths[path])
        total = sum(tensor.nbytes for each in weights for tensor in read_header(made[each]).tensors)
        metadata = {**(index.get("metadata") or {}), "total_size": total}
        made[path] = _write_json(folder / "index.json", {**index, "metadata": metadata})
    return Attempt(amount=amount, outputs=made, plain=made, details=details)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; raises ModelError."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is no JSON") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} is no JSON object")
    return found


def deflated_size(path: Path) -> int:
    """Return the bytes of a file compressed by deflate (RFC 1951), level 1."""
    compressor, size = zlib.compressobj(1, zlib.DEFLATED, -15), 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            size += len(compressor.compress(chunk))
    return size + len(compressor.flush())


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _single_rows(pruning: Pruning, lost: Mapping[str, ErrorSum], *, sparse: bool) -> list[dict[str, Any]]:
    rows = []
    for tensor in pruning.header.tensors:
        cut = pruning.cuts.get(tensor.name)
        if cut is None:
            why = pruning.kept.get(tensor.name)
            rows.append({**_row(tensor, tensor.dtype, tensor.nbytes, None), **({"reason": why} if why else {})})
            continue
        size = sparse_size(tensor, cut.left) if sparse else tensor.nbytes
        rows.append(_row(tensor, f"{tensor.dtype} {'sparse' if sparse else 'with zeros'}", size, lost[tensor.name]))
    return rows


def _neuron_rows(header: Header, selections: Mapping[str, Selection], lost: Mapping[str, ErrorSum]) -> list[dict[str, Any]]:
    rows = []
    for tensor in header.tensors:
        shape = shape_left(tensor, selections.get(tensor.name))
        size = tensor.nbytes // max(1, tensor.count) * _product(shape)
        after = tensor.dtype if shape == tensor.shape else f"{tensor.dtype} {'x'.join(map(str, shape))}"
        rows.append(_row(tensor, after, size, lost.get(tensor.name)))
    return rows


def _row(tensor: Tensor, after: str, size: int, error: ErrorSum | None) -> dict[str, Any]:
    sqnr = error.sqnr if error else None
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "before": tensor.dtype,
        "after": after,
        "size": [tensor.nbytes, size],
        "sqnr": round(sqnr, 2) if sqnr is not None and isfinite(sqnr) else None,
    }


def _product(shape: Collection[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
