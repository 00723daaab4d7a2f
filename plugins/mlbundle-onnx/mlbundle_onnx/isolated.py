"""Run by `isolation.call` as a process of its own: whatever a model does to onnx or onnxruntime reaches nobody else.

The request is a JSON file, its name the only argument; the answer is one line of JSON on standard output. Nothing of ours is imported.
"""

import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any


def main(path: str) -> None:
    """Carry out the request, and print what came of it: what the action returns, or `error`."""
    _limit()
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123
        request = json.load(stream)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what libraries print is no answer
    try:
        answer = _ACTIONS[request.pop("action")](**request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer))
    answers.close()


def run(model: str, checks: bool, feeds: list[list[str]], outputs: str, times: int = 1) -> dict[str, Any]:  # noqa: FBT001 - from JSON
    """Check the model, open it, and run it on the first of the lists of feeds (.npz files) that it runs on.

    `outputs` is the start of the names of the files that its outputs go to, one for each time and feed.
    """
    if checks:
        import onnx

        try:
            onnx.checker.check_model(model)
        except Exception as error:
            return {"error": f"onnx.checker refuses it: {error}"}
    session = _session(model)
    reason = ""
    for number, files in enumerate(feeds):
        try:
            for each in range(times):
                _run_on(session, files, f"{outputs}{each}-")
        except Exception as error:
            reason = reason or f"{error}"
            continue
        return {"ran": number}
    return {"ran": None, "reason": reason}


def check(model: str) -> dict[str, Any]:
    """Check the model's structure alone."""
    import onnx

    onnx.checker.check_model(model)
    return {}


def quantize_dynamic(model: str, target: str, ops: list[str], keep: list[str], *, per_channel: bool, reduce_range: bool) -> dict[str, Any]:
    """Let onnxruntime make a model that quantizes what goes into its operators as it runs."""
    import logging

    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    logging.disable(logging.CRITICAL)
    quantize(
        model,
        target,
        op_types_to_quantize=ops,
        per_channel=per_channel,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=keep,
        extra_options={"MatMulConstBOnly": True},
    )
    return {}


def slim(model: str, target: str) -> dict[str, Any]:
    """Let onnxslim simplify the graph."""
    import onnx
    import onnxslim

    slimmed = onnxslim.slim(onnx.load(model))
    with open(target, "xb") as stream:  # noqa: PTH123
        stream.write(slimmed.SerializeToString(deterministic=True))
    return {}


def _session(model: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run_on(session: Any, files: list[str], start: str) -> None:
    import numpy as np

    for number, file in enumerate(files):
        with np.load(file) as feed:
            arrays = [feed[f"arr_{position}"] for position in range(len(feed.files))]
        inputs = session.get_inputs()
        given = session.run(None, {each.name: array for each, array in zip(inputs, arrays, strict=True)})
        np.savez(f"{start}{number}.npz", *[each for each in given if isinstance(each, np.ndarray) and each.dtype != object])


def _limit() -> None:
    """End with the process that asked; leave no core dump; take no more memory than there is."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    with contextlib.suppress(Exception):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


_ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"run": run, "check": check, "quantize_dynamic": quantize_dynamic, "slim": slim}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
