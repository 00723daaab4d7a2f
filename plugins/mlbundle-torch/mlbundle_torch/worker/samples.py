"""Make inputs of given shapes, always the same ones: a model's outputs are compared on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

Spec = Mapping[str, Any]
"""An input: `name`, `dtype`, `high` (integers are below it), `axes`: an int, or {"name", "sizes"} with the size to export with first."""


def combinations(specs: Sequence[Spec]) -> list[dict[str, int]]:
    """Return the sizes of the named axes to try: first those to export with, then the others, changed all together."""
    sizes: dict[str, list[int]] = {}
    for axis in (axis for spec in specs for axis in spec["axes"] if not isinstance(axis, int)):
        sizes.setdefault(axis["name"], axis["sizes"])
    rounds = max((len(each) for each in sizes.values()), default=1)
    return [{name: each[number % len(each)] for name, each in sizes.items()} for number in range(rounds)]


def make_inputs(specs: Sequence[Spec], sizes: Mapping[str, int], seed: int) -> tuple[torch.Tensor, ...]:
    """Return a tensor for each input; `sizes` gives the named axes."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(_make(spec, shape_of(spec, sizes), generator) for spec in specs)


def shape_of(spec: Spec, sizes: Mapping[str, int]) -> list[int]:
    """Return an input's shape."""
    return [axis if isinstance(axis, int) else sizes[axis["name"]] for axis in spec["axes"]]


def _make(spec: Spec, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    dtype = getattr(torch, spec["dtype"])
    if "mask" in spec["name"]:
        return _mask(shape).to(dtype)
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, spec["high"], shape, generator=generator).to(dtype)


def _mask(shape: list[int]) -> torch.Tensor:
    """Return ones, but for the second half of the last row of several: a random mask might hide a whole row."""
    mask = torch.ones(shape)
    if len(shape) > 1 and shape[0] > 1:
        mask[-1, ..., (shape[-1] + 1) // 2 :] = 0
    return mask
