"""Which tensors may be stored in fewer bits, and what is tried for each: from the smallest on, until the error is within the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from hatch_mlbundle.models.casting import ErrorSum, why_unfit
from hatch_mlbundle.models.encodings import AsItWas, Cast, Encoding, Int8
from hatch_mlbundle.models.safetensors import Tensor

Setting: TypeAlias = Literal["int8-row", "int8-group", "int8-group-f32", "F16", "BF16", "keep"]
"""How a tensor is stored. `int8-group-f32` is `int8-group` with scales of 32 bits, for those that are no normal numbers in 16."""

Target: TypeAlias = Literal["float16", "bfloat16", "int8"]
"""What a whole model is to be stored as, where its tensors allow it."""

LADDERS: Mapping[Target, tuple[Setting, ...]] = {
    "float16": ("F16", "BF16", "keep"),
    "bfloat16": ("BF16", "keep"),
    "int8": ("int8-row", "int8-group", "int8-group-f32", "F16", "BF16", "keep"),
}
"""What is tried, in this order."""

LEVELS: Mapping[Target, tuple[Setting, ...]] = {
    "float16": ("F16", "keep"),
    "bfloat16": ("BF16", "keep"),
    "int8": ("int8-row", "int8-group", "F16", "keep"),
}
"""Where a whole model may begin on its ladder, from the smallest result to the largest: what a search of accuracy chooses among."""

_FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is wanted, and within which bounds.

    `min_sqnr` is in dB for each tensor. `keeps` says which tensors stay by their names. For int8 alone, elements of a row share a
    scale by `group` where a scale for the whole row is not good enough, and what has fewer than `min_count` elements or a name that
    `delicate` matches stays.
    """

    target: Target
    min_sqnr: float
    group: int
    min_count: int
    keeps: Callable[[str], bool]
    delicate: Callable[[str], bool]

    @property
    def packed(self) -> bool:
        """Whether the result is a packed file, and no safetensors file."""
        return self.target == "int8"

    def why_kept(self, tensor: Tensor) -> str | None:
        """Return why a tensor is not to be touched at all, None where it may be stored in fewer bits."""
        wanted = _FLOATS if self.target == "int8" else ("F32",)
        if tensor.dtype not in wanted:
            return f"only {', '.join(wanted)} are stored smaller"
        if self.keeps(tensor.name):
            return "its name is among those to keep"
        if tensor.count == 0:
            return "it is empty"
        return self._why_too_delicate(tensor) if self.target == "int8" else None

    def ladder(self, tensor: Tensor, start: Setting) -> tuple[Setting, ...]:
        """Return what to try for a tensor, in order, from `start` on; the last is always `keep`."""
        if self.why_kept(tensor):
            return ("keep",)
        steps = LADDERS[self.target]
        return tuple(each for each in steps[steps.index(start) :] if each == "keep" or self._helps(each, tensor))

    def encoding(self, setting: Setting) -> Encoding:
        """Return how a setting stores a tensor."""
        return {
            "int8-row": Int8(),
            "int8-group": Int8(group=self.group, scale_dtype="F16"),
            "int8-group-f32": Int8(group=self.group),
            "F16": Cast("F16"),
            "BF16": Cast("BF16"),
            "keep": AsItWas(),
        }[setting]

    def words(self, setting: Setting) -> str:
        """Return a setting as it is told, but for `keep`."""
        groups = f"I8 in groups of {self.group}"
        return {"int8-row": "I8 by row", "int8-group": groups, "int8-group-f32": f"{groups} with scales of 32 bits"}.get(setting, setting)

    def why_unfit(self, setting: Setting, error: ErrorSum) -> str | None:
        """Return why a tensor cannot be stored so, None where it can."""
        if setting == "int8-group" and error.overflows:
            return "its scales are no normal numbers in 16 bits"
        return why_unfit(error, self.words(setting), self.min_sqnr)

    def _why_too_delicate(self, tensor: Tensor) -> str | None:
        if len(tensor.shape) < 2:
            return "it has one axis at most"
        if tensor.count < self.min_count:
            return f"it has fewer than {self.min_count} elements"
        return "positions and token types are kept" if self.delicate(tensor.name) else None

    def _helps(self, setting: Setting, tensor: Tensor) -> bool:
        """Say whether a setting can be had for the tensor, and saves more than 16 bits an element would."""
        encoding = self.encoding(setting)
        if not isinstance(encoding, Int8):
            return tensor.dtype == "F32"
        return encoding.fits(tensor) and encoding.size(tensor) < 2 * tensor.count


def named(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a tensor's name matches one of the globs, in which `*` stands for dots, too."""
    return lambda name: any(fnmatchcase(name, glob) for glob in globs)


def following(ladder: tuple[Setting, ...], setting: Setting, error: ErrorSum) -> Setting:
    """Return what to try after a setting that did not do: what failed for its error is not helped by finer scales of the same."""
    if not error.finite:
        return "keep"
    rest = ladder[ladder.index(setting) + 1 :]
    if setting == "int8-group" and not error.overflows:
        rest = tuple(each for each in rest if each != "int8-group-f32")
    return rest[0]
