"""An application in a plain folder that uses its files in every way that comes to mind, and steps that break it on purpose."""

from __future__ import annotations

import atexit
import gzip
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from tempfile import mkdtemp

from hatch_mlbundle.config import Config, Settings
from hatch_mlbundle.job import Job
from hatch_mlbundle.model import Bundle, Change, Drop, Link, Rewrite
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Task
from hatch_mlbundle.pipeline import Stage
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.verify_settings import VerifyCommand, VerifySettings

_MAIN = """\
import ctypes, gzip, importlib, inspect, json, os, ssl, struct, subprocess, sys, time
from importlib import metadata

here = os.path.dirname(os.path.abspath(__file__))

def path(*parts):
    return os.path.join(here, *parts)

def text(*parts):
    with open(path(*parts), encoding="utf-8") as stream:
        return stream.read().strip()

alpha = ctypes.CDLL(path("lib", "libalpha.so"))
print("alpha", alpha.alpha(), "gamma", alpha.with_gamma(path("lib", "libgamma.so").encode()))
alpha.name.restype = ctypes.c_char_p
print("name", alpha.name().decode())
print("words", text("data", "words.txt"), text("data", "link.txt"))
print("table", json.loads(text("data", "table.json"))["answer"])
print("packed", gzip.open(path("data", "packed.gz")).read().decode())
print("version", metadata.version("zoo"))
print("plugins", [point.load().NAME for point in metadata.entry_points(group="zoo.plugins")])
print("late", importlib.import_module("pkg." + "late").VALUE, importlib.import_module("pkg").NAME)
import readable
print("source", len(inspect.getsource(readable.shown)))
print("tool", subprocess.run([path("data", "tool.sh")], capture_output=True, text=True, check=True).stdout.strip())
print("parts", len(os.listdir(path("data", "parts"))))
print("tls", len(ssl.create_default_context(cafile=path("data", "cert.pem")).get_ca_certs()))
with open(path("data", "weights.bin"), "rb") as stream:
    print("weights", *(f"{value:.6f}" for value in struct.unpack("<4d", stream.read(32))))
while not os.path.exists(path("data", "stop")):
    time.sleep(0.05)
if not os.path.exists(path("data", "calm")):
    children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(60)]
    time.sleep(60)
if not os.path.exists(path("data", "small")):
    with open("flood", "wb") as stream:
        while True:
            stream.write(bytes(1 << 20))
with open("out.json", "w", encoding="ascii") as stream:
    stream.write(text("data", "template.txt"))
"""
_ALPHA = """\
#include <dlfcn.h>
int beta(void);
static const char *words = "alpha of the zoo";
const char *name(void) { return words; }
int alpha(void) { return beta() + 1; }
int with_gamma(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  int (*gamma)(void) = library ? (int (*)(void))dlsym(library, "third") : 0;
  return gamma ? gamma() : -1;
}
"""
_FILES = {
    "main.py": _MAIN,
    "pkg/__init__.py": "NAME = 'pkg'\n",
    "pkg/late.py": "VALUE = 7\n",
    "readable.py": "def shown():\n    # a comment that somebody reads\n    return 1\n",
    "plugin.py": "class Plugin:\n    NAME = 'plug'\n",
    "zoo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n",
    "zoo-1.0.dist-info/entry_points.txt": "[zoo.plugins]\nplug = plugin:Plugin\n",
    "data/words.txt": "some words\n",
    "data/other.txt": "other words\n",
    "data/table.json": '{"answer": 42}\n',
    "data/template.txt": '{"written": true}\n',
    "data/tool.sh": "#!/bin/sh\necho tool\n",
    **{f"data/parts/{number}": "" for number in range(3)},
    **{f"data/{name}": "" for name in ("stop", "calm", "small")},
    **{f"unused/{number}.txt": f"nobody reads {number}\n" for number in range(120)},
}


@cache
def _built() -> Path:
    root = Path(mkdtemp(prefix="mlbundle-tests-breakable-")) / "zoo"
    atexit.register(shutil.rmtree, root.parent, ignore_errors=True)
    for name, content in _FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    (root / "data/tool.sh").chmod(0o755)
    (root / "data/link.txt").symlink_to("words.txt")
    (root / "data/weights.bin").write_bytes(struct.pack("<4d", 0.1, -2.5, 3e3, 4.0) + bytes(8))
    (root / "data/packed.gz").write_bytes(gzip.compress(b"packed", mtime=0))
    _make_certificate(root / "data/cert.pem")
    _compile(root / "lib")
    return root


def _compile(folder: Path) -> None:
    folder.mkdir()
    sources = {"beta": "int beta(void) { return 1; }", "gamma": "int third(void) { return 3; }", "alpha": _ALPHA}
    for name, source in sources.items():
        (folder / f"{name}.c").write_text(source)
        linked = ["-L.", "-lbeta", "-Wl,-rpath,$ORIGIN", "-ldl"] if name == "alpha" else []
        command = ["gcc", "-g", "-shared", "-fPIC", "-O1", "-o", f"lib{name}.so", f"{name}.c", *linked]
        subprocess.run(command, cwd=folder, check=True)
        (folder / f"{name}.c").unlink()


def _make_certificate(path: Path) -> None:
    pem = Path(str(distribution("pip").locate_file("pip/_vendor/certifi/cacert.pem"))).read_text(encoding="utf-8")
    begin = pem.index("-----BEGIN")
    end = "-----END CERTIFICATE-----\n"
    path.write_text(pem[begin : pem.index(end, begin)] + end, encoding="ascii")


def zoo(place: Path) -> Path:
    """Return a copy of the application."""
    return Path(shutil.copytree(_built(), place / "zoo", symlinks=True))


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What a step does to one file: drops it, links it to `target`, or writes `data` in its place, with these permission bits."""

    data: bytes | None = None
    target: str | None = None
    mode: int | None = None


class Planted(Optimizer[Options]):
    """Does harm to the files that the test wants, and the like to many that nobody uses."""

    version = "1"

    def __init__(self, name: str, harms: Mapping[str, Harm], harmless: Iterable[str] = ()) -> None:
        super().__init__(Options())
        self.name = name  # type: ignore[misc]
        self._harms = {**dict.fromkeys(harmless, Harm()), **harms}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for path, harm in sorted(self._harms.items()):
            if harm.target is not None:
                yield Link(path=path, reason="planted", target=harm.target)
            elif harm.data is not None:
                yield Rewrite(path=path, reason="planted", key=harm.data.hex()[:64])
            else:
                yield Drop(path=path, reason="planted")

    def rewrite(self, task: Task, context: Context) -> None:
        data = self._harms[task.file.path].data
        assert data is not None
        task.target.write_bytes(data)


def planted_job(project: Path, steps: Mapping[str, Mapping[str, Harm]], settings: VerifySettings) -> Job:
    """Return a job with a planted step of each name, which also drops forty files that nobody uses."""
    stages = []
    for number, (name, harms) in enumerate(steps.items()):
        unused = [f"unused/{each}.txt" for each in range(40 * number, 40 * number + 40)]
        stages.append(Stage(optimizer=Planted(name, harms, unused), distribution="tests", version="1", identity=[name]))
    config = Config(settings=Settings(verify=settings), steps=())
    return Job(config=config, stages=tuple(stages), tools=(), project=project, progress=Silence())


def run_zoo(**options: object) -> VerifyCommand:
    """Return the command that runs the application."""
    return VerifyCommand(**{"name": "zoo", "run": (sys.executable, "{bundle}/main.py"), "files": ("out.json",), **options})  # type: ignore[arg-type]
