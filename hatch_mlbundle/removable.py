"""What native libraries could lose and still run: symbols and debug data, and GPU code for GPUs that nobody here has."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CODE = re.compile(r"(?:sm|compute|lto)_(\d+)(\d)[af]?(?: |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StripRow:
    """What a strip would take out of a library, in bytes by what they are; `saves` is how much smaller the file would be.

    Where something speaks against it, that is the `refusal`, and `saves` is 0.
    """

    symbols: int
    debug: int
    remarks: int
    saves: int
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingRow:
    """What becomes of a library of which only the GPU code for these `targets` (compute capabilities, `8.0`) is kept.

    `serves` says whether any of it would be left for one of them; `drops` are the bytes of GPU code that go. `saves` is how much smaller
    the file would be, `with_strip` how much where it is stripped, too: files lose whole pages only, and nothing where it is refused, or
    where no library of the package would serve any target.
    """

    targets: tuple[str, ...]
    serves: bool
    drops: int
    saves: int
    with_strip: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCodeRow:
    """What there is to choose from for a library with GPU code: a row for each choice of targets.

    `licence` (an SPDX expression) is what allows to distribute it changed, empty where that is not known: then it has to be named. Where
    something speaks against taking any out, that is the `refusal`, and nothing is saved by it.
    """

    licence: str
    keeping: tuple[KeepingRow, ...]
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovableRow:
    """What the library at `path` could lose: by a strip, and by a choice of GPU code; None where there is nothing of the sort."""

    path: str
    strip: StripRow | None
    gpu: GpuCodeRow | None


def capability_of(architecture: str) -> str | None:
    """Return the compute capability that GPU code is for, by the name that `contents` has for it: `9.0` for `sm_90a`; None of others."""
    match = _CODE.match(architecture)
    return f"{match[1]}.{match[2]}" if match else None
