"""Which files hold weights, and which of them only together: shards, ONNX with its data outside, OpenVINO's two files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from posixpath import basename, dirname, join, normpath

from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.model import File, Kind

_SUFFIXES = (
    *(".safetensors", ".onnx", ".gguf", ".ggml", ".pt", ".pth", ".ckpt", ".torchscript", ".tflite", ".keras", ".h5", ".joblib", ".mlmodel"),
    *(".engine", ".nemo", ".ftz", ".msgpack", ".pdiparams", ".onnx_data", ".onnx.data"),
)
_NAMES = re.compile(r"(?:pytorch_model|diffusion_pytorch_model|adapter_model|model|training_args)(?:[.-][\w.-]+)?\.bin|saved_model\.pb")
_HEADS = (b"PK\x03\x04", b"\x80\x02", b"ggml", b"ggjt", b"lmgg", b"ggla", b"GGUF", b"\xba\x16\x4f\x2f")
"""How a `.bin` begins that holds weights: a zip archive or a pickle of PyTorch's, ggml's forms (ggml.h), fastText (`fasttext.cc`)."""
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")
_DATA = re.compile(r"(.+\.onnx)(?:[._]data(?:_\d+)?|\.weights)")
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
"""An entry of ONNX's `TensorProto.external_data` (onnx.proto): the key `location`, then the length of the path that follows."""
_LONGEST = 128


def is_weights(file: File) -> bool:
    """Say whether a file holds weights: by its name, and where that may be anything's by how it begins."""
    name = basename(file.path)
    if file.link is not None or not file.size or file.kind is Kind.METADATA:
        return False
    if file.kind is Kind.MODEL or name.lower().endswith(_SUFFIXES):
        return True
    if not name.endswith(".bin"):
        return name == "saved_model.pb"
    return _NAMES.fullmatch(name) is not None or _head(file).startswith(_HEADS)


def weight_groups(files: Sequence[File]) -> list[list[File]]:
    """Return the files with weights of one folder, those together that are loaded together, the largest of them first."""
    by_name = {basename(file.path): file for file in files}
    found: defaultdict[str, dict[str, File]] = defaultdict(dict)
    for name, file in by_name.items():
        if is_weights(file) or _is_openvino(name, by_name):
            found[_whose(name)][name] = file
    for group in list(found.values()):
        for file in list(group.values()):
            for name in _outside(file):
                if name in by_name:
                    _move(by_name[name], name, group, found)
    return [sorted(group.values(), key=lambda file: (-file.size, file.path)) for group in found.values() if group]


def _move(file: File, name: str, group: dict[str, File], found: dict[str, dict[str, File]]) -> None:
    """Put a file into a group, with all that goes with it already."""
    for other in found.values():
        if name in other and other is not group:
            group |= other
            other.clear()
    group[name] = file


def _whose(name: str) -> str:
    """Return what the files of one model have in common of their names."""
    if match := _SHARD.fullmatch(name):
        return match[1] + match[2]
    if match := _DATA.fullmatch(name):
        return match[1]
    return f"{name.rpartition('.')[0]}.xml" if name.endswith((".bin", ".xml")) else name


def _is_openvino(name: str, by_name: Iterable[str]) -> bool:
    """Say whether a file is the one or the other of OpenVINO's two of a name."""
    stem, _, suffix = name.rpartition(".")
    return suffix in ("xml", "bin") and {f"{stem}.xml", f"{stem}.bin"} <= set(by_name)


def _outside(file: File) -> Iterator[str]:
    """Yield the names of files beside an ONNX model that hold its tensors."""
    if not file.path.endswith(".onnx"):
        return
    here, rest = dirname(file.path), b""
    for chunk in _chunks(file):
        piece = rest + chunk
        for match in _LOCATION.finditer(piece, 0, max(0, len(piece) - _LONGEST)):
            yield from _beside(here, piece[match.end() : match.end() + match[1][0]])
        rest = piece[-_LONGEST - 16 :]
    for match in _LOCATION.finditer(rest):
        yield from _beside(here, rest[match.end() : match.end() + match[1][0]])


def _beside(folder: str, location: bytes) -> Iterator[str]:
    path = normpath(join(folder, location.decode(errors="replace")))
    if dirname(path) == folder:
        yield basename(path)


def _head(file: File) -> bytes:
    return next(_chunks(file), b"")[:16]


def _chunks(file: File) -> Iterator[bytes]:
    """Yield a file's bytes, as far as they can be read: of what lies in a layer, none can."""
    try:
        yield from file.content.chunks()
    except (OSError, MlbundleError):
        return
