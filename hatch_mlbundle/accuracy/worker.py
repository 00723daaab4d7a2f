"""Run by `running.outputs_of` as a process of its own: let an evaluator run a model, and write down what it gives.

`python -m hatch_mlbundle.accuracy.worker REQUEST` reads a JSON file with `evaluator` (module:class), `model`, `samples`, `outputs` (the
file to write, outputs.py) and `fault` (a file for one line that says what went wrong).
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from hatch_mlbundle.accuracy.evaluator import Evaluator
from hatch_mlbundle.accuracy.outputs import write_outputs
from hatch_mlbundle.accuracy.samples import load_samples

_LONGEST = 500
"""Characters of a fault that are told."""


def main(request: Path) -> int:
    """Carry out a request; return the exit status, 1 where a fault was written down."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    try:
        samples = load_samples(Path(asked["samples"]))
        outputs = _evaluator(asked["evaluator"]).outputs(Path(asked["model"]), samples)
        write_outputs(Path(asked["outputs"]), outputs, len(samples.rows))
    except BaseException as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        Path(asked["fault"]).write_text(line, encoding="utf-8", errors="backslashreplace")
        return 1
    return 0


def _evaluator(reference: str) -> Evaluator:
    module, _, name = reference.partition(":")
    evaluator: Evaluator = attrgetter(name)(import_module(module))()
    return evaluator


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
