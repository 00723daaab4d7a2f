"""Pack model weights for the download, exactly: byte planes, and Huffman codes for what repeats in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import PurePosixPath
from typing import ClassVar

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Convert, File, Finding, Keep, Kind
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Json, Optimizer, Options, Risk, option
from hatch_mlbundle.runtime.signpost import COMPRESSED, is_signpost
from hatch_mlbundle.schema import Glob, Size

_FILES = ("*.safetensors", "*.pt", "*.pth", "pytorch_model*.bin", "*.onnx", "*.onnx_data", "*.onnx.data", "*.gguf")


@dataclass(frozen=True, kw_only=True)
class PackWeightsOptions(Options):
    """What to pack."""

    files: tuple[Glob, ...] = option("Globs of the files to pack, of any format.", default=tuple(map(Glob, _FILES)))
    min_size: Size = option("Files smaller than this stay.", default=Size(1_000_000))
    min_saving: int = option("Files that would lose fewer percent of their size, or of what deflate leaves of it, stay.", default=1)


class PackWeights(Optimizer[PackWeightsOptions]):
    """Packs model weights for the download, exactly. They must be unpacked once before they can be loaded (docs/pack-weights.md)."""

    name = "pack_weights"
    version = "1"
    lossless = True
    risk: ClassVar[Risk] = "high"
    options_type = PackWeightsOptions

    def programs(self) -> Mapping[str, str]:
        """Return the versions of the libraries that decide the bytes; raises MissingLibraryError."""
        import zlib

        return {**library_versions(self.name, "numpy"), "zlib": zlib.ZLIB_RUNTIME_VERSION}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Convert for each file that gets smaller, and a Keep, with its reason, for each that would gain too little."""
        files = [file for file in self._named(bundle, context) if context.selects(file.path) and file.size >= self.options.min_size]
        facts = context.examine(self.name, files, partial(_examine, context=context))
        for file in files:
            packed = file.path + COMPRESSED
            fact = facts[file.path]
            if packed in bundle:
                message = f"{PurePosixPath(packed).name} is there already, so that it cannot be packed; take that away"
                context.report(Finding(code="MB742", path=file.path, message=message))
            elif fact is None:
                yield Keep(path=file.path, reason="it says that the file of this name was packed already")
            elif why := self._too_little(fact["packed"], file.size, fact["deflated"]):
                yield Keep(path=file.path, reason=why)
            else:
                yield _conversion(file, fact["packed"], fact["deflated"])

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the packed file, prove that it unpacks to the original, and leave a signpost under the original's name."""
        from hatch_mlbundle.models.weight_packing import check_packed, pack_file, signpost

        path = task.change.path
        target = task.target / (path + COMPRESSED)
        target.parent.mkdir(parents=True, exist_ok=True)
        result = pack_file(task.sources[path], target)
        text = signpost(PurePosixPath(path).name)
        if why := self._too_little(result.after + len(text), result.before, None):
            target.unlink()
            raise KeptError(why)
        check_packed(target, result.sha256)
        (task.target / path).write_bytes(text)
        detail = {"setting": "planes", "sha256": result.sha256, "size": [result.before, result.after], "layouts": result.layouts}
        return {path + COMPRESSED: detail}

    def _named(self, bundle: Bundle, context: Context) -> list[File]:
        """Return the files that `files` names, sorted by path; a glob of the user's own that matches nothing is told."""
        chosen = self.options.files
        default = next(field.default for field in fields(self.options) if field.name == "files")
        for glob in () if chosen == default else chosen:
            if not any(map(matcher([glob.removeprefix("!")]), bundle)):
                message = f"the glob {glob!r} in `files` matches no file; correct it, or take it out"
                context.report(Finding(code="MB741", message=message))
        matches = matcher(chosen)
        return [file for path, file in sorted(bundle.items()) if matches(path) and file.kind is not Kind.LINK and file.link is None]

    def _too_little(self, packed: int, size: int, deflated: int | None) -> str | None:
        """Return why a file stays that would be `packed` bytes; None where it gains enough."""
        needed = 1 - self.options.min_saving / 100
        if packed > size * needed:
            return f"packing would save {_percent(packed, size)} only"
        if deflated is not None and packed > deflated * needed:
            return (
                f"deflate, which wheels and archives use, saves {_percent(deflated, size)}, and packing would save {_percent(packed, size)}"
            )
        return None


def _examine(file: File, *, context: Context) -> Json:
    """Return about what the file takes packed and deflated (bytes); None where it stands for one that was packed."""
    from hatch_mlbundle.models.weight_packing import estimate

    path = context.local(file)
    if is_signpost(path):
        return None
    found = estimate(path)
    return {"packed": found.packed, "deflated": found.deflated}


def _conversion(file: File, packed: int, deflated: int) -> Convert:
    saving = f"saves about {_percent(packed, file.size)}, where deflate saves {_percent(deflated, file.size)}"
    return Convert(
        path=file.path,
        reason=f"packed by byte planes, which {saving}; to be unpacked once before it is used",
        sources=(file.path,),
        outputs=(file.path, file.path + COMPRESSED),
        saves=file.size - packed,
    )


def _percent(after: int, before: int) -> str:
    return f"{max(0.0, 100 - 100 * after / before):.1f} %"
