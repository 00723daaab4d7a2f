"""Run an ONNX file beside the torch model that it was made from, and say how far apart their outputs are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from .errors import UnsoundError, innermost
from .samples import Spec, combinations, make_inputs


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one thread of the CPU; raises UnsoundError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnsoundError(f"onnxruntime does not open it: {innermost(error)}") from error


def compare(model: torch.nn.Module, path: Path, specs: Sequence[Spec], names: Sequence[str], tolerance: float) -> list[dict[str, Any]]:
    """Return, for each combination of sizes, the worst output's relative error and cosine; raises UnsoundError beyond `tolerance`.

    The relative error is the Euclidean norm of the difference over that of torch's output. Whole numbers must be the same.
    """
    session = open_session(path)
    rows = []
    for seed, sizes in enumerate(combinations(specs)):
        values = make_inputs(specs, sizes, seed)
        with torch.no_grad():
            expected = [each.detach().cpu() for each in model(*values)]
        worst = {"relative": 0.0, "cosine": 1.0}
        for name, one, other in zip(names, expected, _run(session, specs, values, names, sizes), strict=True):
            measured = distance(_plain(one), other)
            if measured is None or measured["relative"] > tolerance:
                raise UnsoundError(f"output {name!r} differs at {_told(sizes)}: {_far(measured, one, other)}, the bound is {tolerance:g}")
            worst = {"relative": max(worst["relative"], measured["relative"]), "cosine": min(worst["cosine"], measured["cosine"])}
        rows.append({"sizes": sizes, "relative": float(f"{worst['relative']:.1g}"), "cosine": round(worst["cosine"], 6)})
    return rows


def _run(
    session: onnxruntime.InferenceSession,
    specs: Sequence[Spec],
    values: Sequence[torch.Tensor],
    names: Sequence[str],
    sizes: Mapping[str, int],
) -> list[Any]:
    taken = {each.name for each in session.get_inputs()}
    feed = {spec["name"]: _plain(value) for spec, value in zip(specs, values, strict=True) if spec["name"] in taken}
    try:
        return list(session.run(list(names), feed))
    except Exception as error:
        raise UnsoundError(f"it does not run at {_told(sizes)}, its axes are not as free as asked: {innermost(error)}") from error


def _plain(tensor: torch.Tensor) -> Any:
    if tensor.dtype is torch.bfloat16:
        raise UnsoundError("bfloat16 goes neither in nor out of onnxruntime's Python; let the module take and give float32")
    return tensor.numpy()


def distance(one: Any, other: Any) -> dict[str, float] | None:
    """Return how far apart two arrays are, None where they cannot be compared: of other shapes, or not finite at other places."""
    if one.shape != other.shape:
        return None
    if one.dtype.kind in "biu":
        return {"relative": float(not np.array_equal(one, other)), "cosine": 1.0}
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return None
    a, b = a[finite], b[finite]
    scale = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0))) or 1.0
    a, b = a / scale, b / scale  # whose squares do not overflow
    norms = math.sqrt(float(a @ a)), math.sqrt(float(b @ b))
    if not norms[0]:
        return {"relative": norms[1] * scale, "cosine": 1.0}
    away = a - b
    cosine = float(a @ b) / (norms[0] * norms[1]) if norms[1] else 0.0
    return {"relative": math.sqrt(float(away @ away)) / norms[0], "cosine": min(1.0, cosine)}


def _far(measured: Mapping[str, float] | None, one: torch.Tensor, other: Any) -> str:
    if measured is not None:
        return f"its relative error is {measured['relative']:.2g}"
    return f"torch gives {tuple(one.shape)}, ONNX {tuple(other.shape)}, or one of them numbers that are not finite"


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "the size it was exported with"
