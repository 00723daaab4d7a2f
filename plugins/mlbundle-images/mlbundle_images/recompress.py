"""Store PNG and JPEG pictures in fewer bytes, the same to the last sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from hatch_mlbundle.errors import ConfigurationError, ModelError
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Rewrite
from hatch_mlbundle.named_digests import files_called, unless_named
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Risk, Task, option

INSTALL = "mlbundle-images"
_LARGEST = 200_000_000
"""Bytes of the largest picture that is read."""


@dataclass(frozen=True, kw_only=True)
class RecompressPngOptions(Options):
    """How hard PNG pictures are compressed."""

    level: int = option("How hard oxipng tries, 0 to 6; 4 takes four times as long as 2, and gains 0.3 percent.", default=2)
    max_pixels: int = option("Pictures with more pixels stay: they are decoded to be compared, at 8 bytes a pixel.", default=50_000_000)


@dataclass(frozen=True, kw_only=True)
class RecompressJpegOptions(Options):
    """Which JPEG pictures are compressed."""

    max_pixels: int = option("Pictures with more pixels stay: they are decoded to be compared, at 6 bytes a pixel.", default=50_000_000)


class RecompressPng(Optimizer[RecompressPngOptions]):
    """Stores PNG pictures in fewer bytes by oxipng; samples, colour type, bit depth and every other chunk stay."""

    name = "recompress_png"
    version = "1"
    risk: ClassVar[Risk] = "none"
    options_type = RecompressPngOptions

    def programs(self) -> Mapping[str, str]:
        """Return the releases of the libraries that decide a result; raises MissingLibraryError."""
        return library_versions(self.name, "pillow", "pyoxipng", install=INSTALL)

    def inputs(self, project: object) -> Mapping[str, str]:
        """Return nothing; raises ConfigurationError for a level that oxipng has not."""
        if not 0 <= self.options.level <= 6:
            raise ConfigurationError([f"tool.mlbundle.{self.name}.level: must be from 0 to 6, not {self.options.level}"])
        return {}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each picture, or a Keep with its reason, in the order of the paths."""
        from .png import SIGNATURE

        return _plan(bundle, context, (".png", ".apng"), SIGNATURE, "compressed anew by oxipng")

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the smaller picture; raises KeptError, UnsoundResultError; reports what is damaged."""
        from .png import recompressed

        try:
            task.target.write_bytes(recompressed(task.source.read_bytes(), self.options.level, self.options.max_pixels))
        except ModelError as error:
            _report_damage(task, context, error)


class RecompressJpeg(Optimizer[RecompressJpegOptions]):
    """Stores JPEG pictures in fewer bytes by mozjpeg, as progressive ones; samples, EXIF data and colour profiles stay."""

    name = "recompress_jpeg"
    version = "1"
    risk: ClassVar[Risk] = "low"
    options_type = RecompressJpegOptions

    def programs(self) -> Mapping[str, str]:
        """Return the releases of the libraries that decide a result; raises MissingLibraryError."""
        return library_versions(self.name, "mozjpeg-lossless-optimization", "pillow", install=INSTALL)

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each picture, or a Keep with its reason, in the order of the paths."""
        from .jpeg import SIGNATURE

        return _plan(bundle, context, (".jpg", ".jpeg", ".jpe", ".jfif"), SIGNATURE, "compressed anew by mozjpeg")

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the smaller picture; raises KeptError, UnsoundResultError; reports what is damaged."""
        from .jpeg import recompressed

        try:
            task.target.write_bytes(recompressed(task.source.read_bytes(), self.options.max_pixels))
        except ModelError as error:
            _report_damage(task, context, error)


def _plan(bundle: Bundle, context: Context, suffixes: tuple[str, ...], signature: bytes, reason: str) -> Iterable[Change]:
    def change(file: File) -> Change:
        kept = _why_kept(file, signature)
        return Keep(path=file.path, reason=kept) if kept else Rewrite(path=file.path, reason=reason)

    return unless_named(files_called(suffixes, bundle, context), bundle, context, change)


def _why_kept(file: File, signature: bytes) -> str | None:
    if file.size > _LARGEST:
        return "it is too large to be read"
    return None if next(iter(file.content.chunks()), b"").startswith(signature) else "its bytes are not what its name says"


def _report_damage(task: Task, context: Context, error: ModelError) -> None:
    message = f"{error}; it stays as it is"
    context.report(Finding(code="MB931", path=task.file.path, message=message))
