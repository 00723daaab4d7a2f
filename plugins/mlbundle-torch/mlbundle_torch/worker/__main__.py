"""Carry out one request: `python worker REQUEST ANSWER`, both JSON files.

The answer is `{"result": ...}`, or `{"error": line}` with `missing` where a library is not installed. Whatever the work raises becomes
one line; only a crash, or the bounds of the caller, leave no answer.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

PACKAGE = "mlbundle_torch_worker"
"""The name under which this folder is imported: apart from any installed copy, and from the project's own modules."""


def main(request_file: str, answer_file: str) -> None:
    """Read the request, do the work, write the answer."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    answer = _answer(request)
    unfinished = Path(f"{answer_file}.part")
    unfinished.write_text(json.dumps(answer), encoding="utf-8")
    unfinished.replace(answer_file)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        _bound_memory(request.get("memory"))
        actions = importlib.import_module(f"{PACKAGE}.actions")
        return {"result": actions.ACTIONS[request["action"]](request)}
    except ModuleNotFoundError as error:
        return {"error": f"{error.name} is not installed", "missing": error.name}
    except MemoryError:
        return {"error": "ran out of the memory that it may have"}
    except Exception as error:
        return {"error": _without_folders(one_line(error), request), "unsound": type(error).__name__ == "UnsoundError"}


def one_line(error: BaseException) -> str:
    """Return what an error says, without its class where the message is ours."""
    text = " ".join(str(error).split()) or "no message"
    ours = type(error).__module__.startswith(PACKAGE)
    return (text if ours else f"{type(error).__name__}: {text}")[:600]


def _without_folders(text: str, request: dict[str, Any]) -> str:
    """Return a message without the folders of this machine and run: it stands in manifests, which must not differ by them."""
    files = [Path(request[name]) for name in ("source", "target") if request.get(name)]
    folders = {str(folder) for file in files for folder in (file, file.parent)} | {request.get("project", "")}
    for folder in sorted(filter(None, folders), key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return text


def _bound_memory(memory: int | None) -> None:
    """Limit the private memory of this process, in bytes: what torch would allocate beyond it fails with an error (Linux)."""
    if memory and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _import_folder() -> None:
    """Make this folder importable as PACKAGE, and nothing else of what lies around it."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if not path or Path(path).resolve() != folder]
    spec = importlib.util.spec_from_file_location(PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{folder}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _import_folder()
    main(*sys.argv[1:3])
