"""The levels of CPUs that a library can be made for."""

from __future__ import annotations

from typing import Literal, TypeAlias

Level: TypeAlias = Literal["x86-64-v3", "x86-64-v4"]
"""What CPUs the result is for, as the x86-64 psABI names them: with AVX2 and FMA, or with AVX-512 (F, BW, CD, DQ, VL) too."""
