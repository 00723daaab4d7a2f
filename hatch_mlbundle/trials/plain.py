"""What the supervisor does, as far as a system without POSIX processes lets it: time is bounded, and the output once it is there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PATIENCE = 10.0


def supervise(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command, and return what the supervisor would answer; memory is not told (0)."""
    answer: dict[str, Any] = {"status": None, "overrun": None, "peak_memory": 0, "left": 0}
    outputs = [Path(request[name]) for name in ("stdout", "stderr")]
    start = time.perf_counter()
    with Path(request["stdin"]).open("rb") as given, outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        try:
            process = subprocess.Popen(
                request["arguments"], stdin=given, stdout=out, stderr=err, cwd=request["folder"], env=request["environment"]
            )
        except (OSError, ValueError) as error:
            return {"error": getattr(error, "strerror", None) or str(error)}
        try:
            answer["status"] = process.wait(request["seconds"])
        except subprocess.TimeoutExpired:
            answer["overrun"] = "seconds"
        finally:
            answer["seconds"] = time.perf_counter() - start
            _kill(process)
    if sum(path.stat().st_size for path in outputs) > request["written"]:
        answer.update(status=None, overrun="written")
    return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process; on Windows with all that it started."""
    if sys.platform == "win32" and process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False, timeout=_PATIENCE)  # noqa: S607
    process.kill()
    process.wait()
