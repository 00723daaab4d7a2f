"""The example project, built for real from copies of its folder, installed and run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import REPOSITORY, build, built_wheel, environment

EXAMPLE = REPOSITORY / "examples" / "digit-reader"
EXTENSION = f"digit_reader/_layers{sysconfig.get_config_var('EXT_SUFFIX')}"
COMPILER = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc")[0]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the extension is read as an ELF file"),
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no C compiler: {COMPILER} is not on PATH"),
]


@dataclass(frozen=True, kw_only=True)
class Build:
    wheel: Path
    output: str

    @property
    def manifest_file(self) -> Path:
        return self.wheel.with_name(self.wheel.name + SUFFIX)

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.manifest_file)


def build_copy(folder: Path, **variables: str) -> Build:
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("dist", "__pycache__", "*.so"))
    result = build(folder, MLBUNDLE_CACHE_DIR=str(folder.parent / "cache"), **variables)
    assert result.returncode == 0, result.stderr
    return Build(wheel=built_wheel(folder), output=result.stdout + result.stderr)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build_copy(tmp_path_factory.mktemp("example") / "digit-reader")


def test_the_wheel_is_smaller_than_what_the_other_hooks_made(built: Build) -> None:
    before, after = built.manifest.artifact.before, built.manifest.artifact.after
    assert after.size == built.wheel.stat().st_size < 0.95 * before.size
    assert after.installed < 0.75 * before.installed


def test_every_step_did_something_and_nothing_was_found(built: Build) -> None:
    assert {step.optimizer: dict(step.changes) for step in built.manifest.steps} == {
        "test_data": {"drop": 3},
        "exclude": {"drop": 1},
        "strip": {"rewrite": 1},
    }
    assert built.manifest.findings == ()


def test_tests_and_sources_are_gone_and_the_rest_is_there(built: Build) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.startswith("digit_reader-")}
    modules = {
        f"digit_reader/{name}" for name in ("__init__.py", "__main__.py", "model.py", "_layers.pyi", "py.typed", "weights.safetensors")
    }
    assert names == {*modules, EXTENSION}


def test_the_extension_has_neither_symbols_nor_debug_data(built: Build, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as wheel, Reader(Path(wheel.extract(EXTENSION, tmp_path))) as reader:
        sections = {section.name for section in read_elf(reader).sections}
    assert ".dynsym" in sections
    assert not [name for name in sections if name in {".symtab", ".strtab", ".comment"} or name.startswith(".debug")]


def test_another_folder_and_time_zone_give_the_same_bytes(built: Build, tmp_path: Path) -> None:
    folder = tmp_path / "a folder with quite another name"
    other = build_copy(folder, TZ="Pacific/Auckland", LC_ALL="C")
    assert other.wheel.name == built.wheel.name
    assert other.wheel.read_bytes() == built.wheel.read_bytes()
    assert other.manifest_file.read_bytes() == built.manifest_file.read_bytes()


def test_installed_it_reads_the_held_out_digits_as_the_readme_says(built: Build, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-cache"]
    subprocess.run([*uv, "--python", python, built.wheel], check=True)
    (words,) = re.findall(r"^\$ python (-I -m digit_reader \S+)", (EXAMPLE / "README.md").read_text(), flags=re.MULTILINE)
    result = subprocess.run([python, *words.split()], cwd=EXAMPLE, capture_output=True, text=True, check=True, timeout=60)
    digits, verdict = result.stdout.splitlines()
    assert len(digits) == 898
    assert verdict == "880 of 898 right (98.00%)"
    assert verdict in (EXAMPLE / "README.md").read_text()


@pytest.mark.slow
def test_its_own_tests_pass_where_it_is_editable(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "digit-reader", ignore=shutil.ignore_patterns("dist", "__pycache__", "*.so")))
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    packages = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    (Path(packages) / "tests.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")  # pytest and back ends
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-cache", "--no-build-isolation", "--no-deps"]
    subprocess.run([*uv, "--python", python, "--editable", folder], check=True, env=environment(), timeout=120)
    assert list(folder.glob("digit_reader/_layers*.so"))
    tested = subprocess.run(
        [python, "-m", "pytest", "-q", "digit_reader"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert (tested.returncode, tested.stderr) == (0, ""), tested.stdout
    assert " passed" in tested.stdout


def test_the_readme_shows_the_table_that_the_build_prints(built: Build) -> None:
    readme = (EXAMPLE / "README.md").read_text()
    for step in ("test_data", "exclude"):  # no compiler and no zlib decides their first three columns
        (line,) = [line for line in built.output.splitlines() if line.startswith(f"{step} ")]
        assert line.rsplit(maxsplit=2)[0] in readme
