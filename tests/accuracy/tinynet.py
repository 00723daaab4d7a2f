"""A small network in a safetensors file, what runs it, and evaluators that go wrong, for tests to measure."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hatch_mlbundle.accuracy.evaluator import Evaluator, Outputs, Samples, unbatched

LAYERS = 6
WIDTH = 96


def dtypes() -> dict[str, Any]:
    import ml_dtypes
    import numpy as np

    return {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn)}


def write_model(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write arrays of float32, float16 or float8 as safetensors."""
    names = {dtype: name for name, dtype in dtypes().items()}
    header, start = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values()))


def read_model(path: Path) -> dict[str, Any]:
    import numpy as np

    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    known, tensors = dtypes(), {}
    for name, row in json.loads(data[8:start]).items():
        first, last = row["data_offsets"]
        tensors[name] = np.frombuffer(data[start + first : start + last], known[row["dtype"]]).reshape(row["shape"])
    return tensors


def network(seed: int = 7) -> dict[str, Any]:
    """Return float32 layers; the third loses most when it is rounded: its diagonal is forty times the rest."""
    import numpy as np

    random = np.random.default_rng(seed)
    layers = {f"layer{number}": random.normal(size=(WIDTH, WIDTH)).astype("f4") / WIDTH**0.5 for number in range(LAYERS)}
    layers["layer2"] = layers["layer2"] + np.where(np.eye(WIDTH, dtype=bool), 4, 0).astype("f4")
    return layers


def write_samples(path: Path, count: int = 12, seed: int = 3) -> Path:
    import numpy as np

    np.savez(path, x=np.random.default_rng(seed).normal(size=(count, WIDTH)).astype("f4"))
    return path


class TinyNet(Evaluator):
    """Runs the network: a safetensors file, or a folder with one and a config.json that says so."""

    name = "tinynet"
    version = "1"

    def programs(self) -> Mapping[str, str]:
        return {"tiny-runtime": "1.5"}

    def fits(self, model: Path) -> bool:
        config = model / "config.json"
        return model.suffix == ".safetensors" or (config.is_file() and '"tinynet"' in config.read_text())

    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        import numpy as np

        weights = read_model(model / "model.safetensors" if model.is_dir() else model)
        for batch in samples.batches(5):
            state = batch["x"]
            for weight in weights.values():
                state = np.tanh(state @ weight.astype("f4"))
            yield from unbatched({"state": state, "logits": state[:, :10]}, len(state))


class Counting(TinyNet):
    """Writes down each run into the folder of an environment variable, and when it began and ended."""

    name = "counting"

    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        begun = time.monotonic()
        yield from super().outputs(model, samples)
        time.sleep(0.05)
        note = Path(os.environ["TINYNET_RUNS"], f"{os.getpid()}")
        note.write_text(json.dumps([str(model), begun, time.monotonic()]))


class Odd(TinyNet):
    """Goes wrong with a model whose file's name begins with the name of a fault."""

    name = "odd"

    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        fault = model.name.partition("-")[0]
        plain: list[Outputs] = list(super().outputs(model, samples))
        if fault in _ENDS:
            _ENDS[fault]()
        yield from _BENT[fault](plain) if fault in _BENT else plain


def _raise() -> None:
    raise KeyError("no input\n  named 'y'")


def _with_nan(outputs: list[Outputs]) -> list[Outputs]:
    import numpy as np

    return [{**each, "state": np.where(each["state"] > 0.5, np.nan, each["state"])} for each in outputs]


def _void(outputs: list[Outputs]) -> list[Outputs]:
    import numpy as np

    return [{"state": np.full(3, np.nan)} for _ in outputs]


def _objects(outputs: list[Outputs]) -> list[Outputs]:
    import numpy as np

    return [{"state": np.array([{}])}]


_ENDS: Mapping[str, Callable[[], object]] = {
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda: time.sleep(600),
    "exit": lambda: sys.exit(3),
    "raise": _raise,
}
_BENT: Mapping[str, Callable[[list[Outputs]], list[Outputs]]] = {
    "few": lambda outputs: outputs[1:],
    "many": lambda outputs: [*outputs, outputs[0]],
    "objects": _objects,
    "none": lambda outputs: [{} for _ in outputs],
    "nan": _with_nan,
    "void": _void,
    "shape": lambda outputs: [{**each, "state": each["state"][:-1]} for each in outputs],
    "other": lambda outputs: [{"hidden": each["state"]} for each in outputs],
}


class Raising(TinyNet):
    """Fails already while it looks at the model."""

    name = "raising"

    def fits(self, model: Path) -> bool:
        raise RuntimeError("no\nluck")


class Blind(TinyNet):
    """Runs nothing."""

    name = "blind"

    def fits(self, model: Path) -> bool:
        return False
