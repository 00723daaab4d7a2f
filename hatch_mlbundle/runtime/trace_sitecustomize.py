"""The `sitecustomize` of a Python that is traced (library reference, `site`): starts the hook, then runs the one it stands before.

`mlbundle trace` puts it into a folder of its own under that name, beside the hook, and names the folder in PYTHONPATH.
"""

import _frozen_importlib
import _frozen_importlib_external
import os
import sys


def _start() -> None:
    folder, roots = os.environ.get("MLBUNDLE_TRACE"), os.environ.get("MLBUNDLE_TRACE_ROOTS")
    if folder and roots:
        __import__("mlbundle_trace_hook").start(folder, roots.split(os.pathsep))


def _run_the_next() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]
    spec = _frozen_importlib_external.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = _frozen_importlib.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


try:
    _start()
except Exception:  # noqa: S110 - of a Python too old for the hook nothing is recorded
    pass
_run_the_next()
