"""The store of models: how often a file is fetched by 32 processes that start at once, and what 100 killed processes leave wrong.

Everything is real: processes of their own, a local HTTP server, SIGKILL at random moments. After each kill every byte of the store is read
and compared with what it should be.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import describe_machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.modelsmith import Server, model_of, serving, write_descriptor, wrong_files

PROCESSES = 32
KILLS = 100
CHANCE = random.Random(1)
LINKED = {f"part-{number}.safetensors": CHANCE.randbytes(400_000) for number in range(8)} | {"config.json": b"{}"}
OWN = {"model.onnx": CHANCE.randbytes(100_000), **{f"model.onnx_data.{number}": CHANCE.randbytes(400_000) for number in range(8)}}


def main() -> None:
    print(describe_machine())
    for label, files in (("hard links", LINKED), ("files of its own (onnx)", OWN)):
        with TemporaryDirectory() as folder, serving({f"blip/{path}": data for path, data in files.items()}) as server:
            print(f"\n{label}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB")
            fetch_at_once(Path(folder), server, files)
            kill(Path(folder), server, files)


def fetch_at_once(folder: Path, server: Server, files: dict[str, bytes]) -> None:
    """Start processes at once, and count what the server was asked for."""
    model = model_of(files, sources=(f"{server.address}blip/",))
    descriptor = write_descriptor(folder / "app", model)
    store = folder / "at-once"
    server.delay = 0.02
    start = time.perf_counter()
    line = [sys.executable, "-m", "hatch_mlbundle.runtime", "warm", str(descriptor)]
    environment = {**os.environ, "MLBUNDLE_STORE": str(store)}
    running = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) for _ in range(PROCESSES)]
    codes = [process.wait() for process in running]
    seconds = time.perf_counter() - start
    failed, wrong = sum(map(bool, codes)), len(wrong_files(store, model))
    fetched = max(server.asked.values())
    print(f"{PROCESSES} processes: each file fetched {fetched} time(s), limit 1; {failed} failed, {wrong} wrong; {seconds:.1f} s")
    if failed or wrong or fetched != 1:
        sys.exit("that is not within its limits")


def kill(folder: Path, server: Server, files: dict[str, bytes]) -> None:
    """Kill processes that fetch, and look at every byte after each."""
    descriptor = write_descriptor(folder / "app", model_of(files, sources=(f"{server.address}blip/",)))
    store = folder / "killed"
    server.delay = 0.002
    line = [sys.executable, "-m", "tests.killing", "random", str(descriptor), str(store), str(KILLS), "0.4"]
    said = subprocess.run(line, env={**os.environ, "MLBUNDLE_STORE": str(store)}, capture_output=True, text=True, check=True)
    killed, wrong, finished = map(int, said.stdout.split())
    print(f"{killed} kills: {wrong} wrong files, limit 0; the model was ready {finished} times in between")
    if killed < KILLS or wrong:
        sys.exit("that is not within its limits")


if __name__ == "__main__":
    main()
