from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hatch_mlbundle.application import optimize
from hatch_mlbundle.verify_settings import VerifySettings
from tests.verification.breakable import Harm, planted_job, run_zoo, zoo

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")

DROP = Harm()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def other_name(data: bytes) -> bytes:
    """The last byte of a library is one of its section headers, which nobody loads."""
    return data.replace(b"alpha of the zoo", b"alphA of the zoo")[:-1]


def other_weights(data: bytes) -> bytes:
    return struct.pack("<4d", 0.1, -2.4, 3e3, 4.0)


def without_section(data: bytes) -> bytes:
    return in_file(data, "objcopy", "--remove-section", ".rodata")


def crashing(data: bytes) -> bytes:
    source = "int beta(void) { return *(volatile int *)0; }"
    with TemporaryDirectory() as folder:
        library = Path(folder, "x.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-s", "-o", library, "-xc", "-"], input=source.encode(), check=True)
        return library.read_bytes()


def in_file(data: bytes, *command: str) -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder, "x")
        file.write_bytes(data)
        subprocess.run([*command, file], check=True)
        return file.read_bytes()


BREAKAGES: dict[str, tuple[str, Harm | Callable[[bytes], bytes], str]] = {
    "a needed library": ("lib/libbeta.so", DROP, "libbeta.so"),
    "a library opened at run time": ("lib/libgamma.so", DROP, "'alpha 2 gamma -1' instead of 'alpha 2 gamma 3'"),
    "a needed section": ("lib/libalpha.so", without_section, "gamma -1|exits with 1|crashes"),
    "a constant in a library": ("lib/libalpha.so", other_name, "'name alphA of the zoo' instead of 'name alpha of the zoo'"),
    "a truncated library": ("lib/libgamma.so", half, "gamma -1|crashes: SIGBUS"),
    "a library that crashes": ("lib/libbeta.so", crashing, "crashes: SIG"),
    "a data file": ("data/words.txt", DROP, "FileNotFoundError"),
    "a distribution's metadata": ("zoo-1.0.dist-info/METADATA", DROP, "exits with 1|version None"),
    "entry points": ("zoo-1.0.dist-info/entry_points.txt", DROP, r"'plugins \[\]'"),
    "a plug-in": ("plugin.py", DROP, "ModuleNotFoundError: No module named 'plugin'"),
    "a lazily imported module": ("pkg/late.py", DROP, "ModuleNotFoundError: No module named 'pkg.late'"),
    "a package's own module": ("pkg/__init__.py", DROP, "AttributeError"),
    "a source that somebody reads": ("readable.py", Harm(data=b"def shown():\n    return 1\n"), "'source"),
    "a wrong link": ("data/link.txt", Harm(target="other.txt"), "other words"),
    "a number": ("data/weights.bin", other_weights, "-2.400000 3000.000000 4.000000' instead of"),
    "a program that cannot be run": ("data/tool.sh", DROP, "FileNotFoundError"),
    "a file that is counted": ("data/parts/1", DROP, "'parts 2' instead of 'parts 3'"),
    "a broken configuration": ("data/table.json", Harm(data=b"{"), "JSONDecodeError"),
    "a truncated archive": ("data/packed.gz", half, "EOFError"),
    "a certificate": ("data/cert.pem", DROP, "exits with 1"),
    "what it waits for": ("data/stop", DROP, "takes more than 2"),
    "what keeps it from forking": ("data/calm", DROP, "has more than 40 processes"),
    "what keeps it from filling the disk": ("data/small", DROP, "writes more than 300 MB"),
    "a file that it writes": ("data/template.txt", Harm(data=b"{}"), "out.json"),
}


SETTINGS = {"max_processes": 40, "max_written": 300 * 10**6, "timeout": 30.0}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_planted_breakage_is_found_named_and_put_back(name: str, tmp_path: Path) -> None:
    path, harm, problem = BREAKAGES[name]
    app = zoo(tmp_path)
    planted = harm if isinstance(harm, Harm) else Harm(data=harm((app / path).read_bytes()))
    before = (app / path).read_bytes()
    steps = {"first": {}, "second": {path: planted}, "third": {}}
    job = planted_job(
        tmp_path, steps, VerifySettings(commands=(run_zoo(timeout=2.0 if name == "what it waits for" else 30.0),), **SETTINGS)
    )
    result = optimize(job, app, tmp_path / "small")
    (finding,) = result.manifest.findings
    assert (finding.code, finding.optimizer, finding.path) == ("MB601", "second", path)
    assert re.search(problem, finding.message), finding.message
    assert (tmp_path / "small" / path).read_bytes() == before
    assert not (tmp_path / "small/unused").exists()
    assert result.verification is not None
    assert result.verification.runs <= 12
