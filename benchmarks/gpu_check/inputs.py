"""Inputs of the sweep: the same bytes in each run, made by the processor, and then moved to the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch

Case: TypeAlias = tuple[str, Callable[[], Any]]
"""A name, and what computes a result: tensors, numbers, and lists of these."""
Cases: TypeAlias = Iterator[Case]

REAL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WHOLE = (torch.int32, torch.int64, torch.uint8, torch.int16)


def short(dtype: torch.dtype) -> str:
    """Return the name without its `torch.`."""
    return str(dtype).removeprefix("torch.")


class Inputs:
    """Makes tensors on a device; each call the next ones of one sequence that `restart` begins anew."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._source = torch.Generator()

    @property
    def quick(self) -> tuple[torch.dtype, ...]:
        """The real types that the device computes with in hardware."""
        return REAL if self.device == "cuda" else REAL[:2]

    def restart(self) -> None:
        """Begin anew, also what the device draws at random."""
        self._source.manual_seed(1)
        torch.manual_seed(1)

    def __call__(self, *shape: int, dtype: torch.dtype = torch.float32, grad: bool = False) -> Any:
        """Return a tensor: normally distributed, whole numbers from 0 to 99, or booleans."""
        if dtype.is_floating_point or dtype.is_complex:
            wide = torch.complex128 if dtype.is_complex else torch.float64
            made = torch.randn(shape, generator=self._source, dtype=wide)
        else:
            made = torch.randint(0, 2 if dtype is torch.bool else 100, shape, generator=self._source)
        return made.to(dtype).to(self.device).requires_grad_(grad)

    def positive(self, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
        """Return numbers between 0 and 1, neither among them."""
        made = torch.rand(shape, generator=self._source, dtype=torch.float64) * 0.98 + 0.01
        return made.to(dtype).to(self.device)

    def index(self, *shape: int, below: int) -> Any:
        """Return whole numbers from 0 to below a limit."""
        return torch.randint(0, below, shape, generator=self._source).to(self.device)

    def definite(self, size: int, dtype: torch.dtype, batch: int = 1) -> Any:
        """Return symmetric or Hermitian matrices with positive eigenvalues."""
        half = self(batch, size, size, dtype=dtype) / math.sqrt(size)
        return half @ half.mH + torch.eye(size, dtype=dtype, device=self.device)


def with_gradients(compute: Callable[[], Any], *leaves: Any) -> list[Any]:
    """Return a result, and the gradients of its sum."""
    result = compute()
    result.float().sum().backward() if not result.is_complex() else result.abs().sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves)]
