"""Prove by decoding that two pictures are the same: every frame, every sample, and what Pillow tells beside."""

from __future__ import annotations

import io

from PIL import Image, ImageSequence

from hatch_mlbundle.errors import KeptError, UnsoundResultError

_STORAGE = frozenset({"progressive", "progression", "interlace"})
"""What Pillow tells of how a picture is stored, which says nothing of what it shows."""


def same_pixels(before: bytes, after: bytes, form: str) -> None:
    """Raise UnsoundResultError unless both decode to the same, KeptError where Pillow cannot decode the first.

    `form` is `PNG` or `JPEG`.
    """
    try:
        one = Image.open(io.BytesIO(before), formats=[form])
        expected = [(frame.mode, frame.size, frame.tobytes(), _told(frame)) for frame in ImageSequence.Iterator(one)]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError) as error:
        raise KeptError(f"Pillow cannot decode it, so that nothing would prove the result: {_one_line(error)}") from error
    try:
        other = Image.open(io.BytesIO(after), formats=[form])
        found = [(frame.mode, frame.size, frame.tobytes(), _told(frame)) for frame in ImageSequence.Iterator(other)]
    except (OSError, SyntaxError, ValueError) as error:
        raise UnsoundResultError(f"it can no longer be decoded: {_one_line(error)}") from error
    if found != expected:
        raise UnsoundResultError("it no longer shows the same")


def _told(image: Image.Image) -> tuple[str, bytes]:
    palette = image.getpalette("RGBA") if image.mode == "P" else None
    return repr(sorted((str(key), value) for key, value in image.info.items() if key not in _STORAGE)), bytes(palette or ())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
