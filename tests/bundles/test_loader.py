"""What loads packed weights, in a real frozen application that reads them with safetensors and numpy."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.executable import open_executables
from hatch_mlbundle.bundles.executable_writer import save
from hatch_mlbundle.bundles.loader import LOADER, loader_source, modules_in, with_loader
from hatch_mlbundle.bundles.needed_modules import needed_at_once, needed_modules
from hatch_mlbundle.bundles.script_code import compiled
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, Change, Convert
from hatch_mlbundle.models.restore import restore
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Options
from hatch_mlbundle.pipeline import Stage
from hatch_mlbundle.plugins import load_registry
from tests.builders import bundle_of
from tests.frozensmith import pyinstaller
from tests.packsmith import int8_row, write_pair

safetensors = pytest.importorskip("safetensors.numpy")
pytest.importorskip("PyInstaller")

APP = """\
import os, sys
from safetensors.numpy import load_file
found = load_file(os.path.join(sys._MEIPASS, "model", "model.safetensors"))
print(found["w"].dtype, found["w"].shape, end=" ")
if len(sys.argv) == 1:
    print(found["w"].tobytes().hex()[:64], float(found["w"].sum(dtype="f8")))
"""
SPEC = """\
import sys
sys.path.insert(0, SPECPATH)
a = Analysis(["app.py"], datas=[("model", "model")])
from pack import pack
pack(a)
pyz = PYZ(a.pure)
exe = EXE(pyz, a.scripts, exclude_binaries=True, name="app")
coll = COLLECT(exe, a.binaries, a.datas, name="app")
"""
PACK = """\
from pathlib import Path
from hatch_mlbundle.adapters.pyinstaller import _tables
from hatch_mlbundle.application import optimize_tables
from hatch_mlbundle.optimizer import Options
from tests.bundles.test_loader import Packing, job_of
def pack(analysis):
    folder = Path("build").resolve()
    optimize_tables(job_of(folder, Packing(Options())), [_tables(analysis)], folder / "mlbundle", Path("dist/app").resolve())
"""
WEIGHTS = np.random.default_rng(5).normal(size=(256, 64)).astype(np.float32)
PACKED = int8_row("w", WEIGHTS)
MODEL = "_internal/model/model.safetensors"


def line_of(array: np.ndarray) -> str:  # type: ignore[type-arg]
    return f"float32 (256, 64) {array.tobytes().hex()[:64]} {float(array.sum(dtype='f8'))}"


class Packing(Optimizer[Options]):
    """Packs the one file of weights."""

    name = "packing"
    version = "1"
    lossless = False

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for path in bundle:
            if path.endswith("model.safetensors") and f"{path}.mlbundle" not in bundle:
                yield Convert(path=path, reason="8 bits", sources=(path,), outputs=(path, f"{path}.mlbundle"))

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        target = task.target / task.change.path
        target.parent.mkdir(parents=True)
        write_pair(target, PACKED)
        return {}


def job_of(project: Path, *optimizers: Optimizer[Options], **settings: object) -> Job:
    registry = load_registry()
    job = prepare(read_config({"optimizers": [], **settings}, registry.option_types()), registry, project=project)
    stages = tuple(Stage(optimizer=each, distribution="demo", version="1", identity=[each.name]) for each in optimizers)
    return replace(job, stages=stages)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed-application")
    (folder / "app.py").write_text(APP)
    (folder / "model").mkdir()
    safetensors.save_file({"w": WEIGHTS}, folder / "model/model.safetensors")
    result = pyinstaller(folder, "--add-data=model:model", "app.py")
    assert result.returncode == 0, result.stderr
    return folder / "dist/app"


@pytest.fixture(scope="session")
def small(plain: Path) -> Path:
    target = plain.with_name("small")
    application.optimize(job_of(plain.parent, Packing(Options())), plain, target)
    return target


def run(executable: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([executable], capture_output=True, text=True, check=False, timeout=60, env=variables)


def scripts_of(folder: Path) -> list[str]:
    with open_executables(folder) as executables:
        return [entry.name for entry in executables["app"].archive.entries if entry.type == "s"]


def test_the_application_loads_its_packed_weights(plain: Path, small: Path) -> None:
    assert run(plain / "app").stdout.strip() == line_of(WEIGHTS)
    assert (small / f"{MODEL}.mlbundle").stat().st_size < (plain / MODEL).stat().st_size / 3
    result = run(small / "app")
    assert (result.stdout.strip(), result.stderr) == (line_of(PACKED.expected), "")
    assert LOADER in scripts_of(small)
    assert LOADER not in scripts_of(plain)


def test_the_optimizer_quantize_leaves_an_application_that_loads_its_weights(plain: Path, tmp_path: Path) -> None:
    registry = load_registry()
    table = {"optimizers": ["quantize"], "quantize": {"dtype": "int8"}}
    job = prepare(read_config(table, registry.option_types()), registry, project=tmp_path)
    result = application.optimize(job, plain, tmp_path / "small")
    assert result.manifest.findings == ()
    restore(tmp_path / "small" / f"{MODEL}.mlbundle", tmp_path / "restored")
    assert run(tmp_path / "small/app").stdout.strip() == line_of(safetensors.load_file(tmp_path / "restored")["w"])


def test_without_the_loader_it_fails_and_loads_no_garbage(plain: Path, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "app"))
    shutil.copy(plain / "app", folder / "app")
    result = run(folder / "app")
    assert result.returncode != 0
    assert result.stdout == ""
    assert "SafetensorError" in result.stderr


def test_a_packed_file_that_is_missing_or_cut_is_one_clear_error(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "app"))
    packed = folder / f"{MODEL}.mlbundle"
    packed.write_bytes(packed.read_bytes()[:-10])
    assert "is no packed file to be trusted" in run(folder / "app").stderr
    packed.unlink()
    assert "says that its weights are packed in a file beside it, which is missing" in run(folder / "app").stderr


def test_a_second_build_leaves_it_as_it_is(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "app", symlinks=True))
    before = (folder / "app").read_bytes()
    application.optimize(job_of(tmp_path, Packing(Options())), folder)
    assert (folder / "app").read_bytes() == before


def test_another_loader_takes_the_place_of_an_earlier_one(small: Path) -> None:
    without = {f"{MODEL}.mlbundle": b"", "_internal/numpy/__init__.py": b"", "_internal/re.py": b""}
    with open_executables(small) as executables:
        for files, count in ((without, 1), ({**without, "_internal/json/__init__.py": b""}, 1), ({"_internal/re.py": b""}, 0)):
            other, scripts = with_loader(executables["app"], bundle_of(files))
            assert [name for name, _ in scripts] == [LOADER] * count
            assert [entry.name for entry in other.archive.entries].count(LOADER) == 1 - count


def test_the_same_application_comes_out_each_time(plain: Path, small: Path, tmp_path: Path) -> None:
    again = tmp_path / "small"
    application.optimize(job_of(tmp_path, Packing(Options())), plain, again)
    assert hashlib.sha256((again / "app").read_bytes()).digest() == hashlib.sha256((small / "app").read_bytes()).digest()


def test_what_verifies_the_result_has_the_loader(plain: Path, tmp_path: Path) -> None:
    verify = {"commands": [{"name": "shape", "run": ["{bundle}/app", "shape"]}]}
    result = application.optimize(job_of(tmp_path, Packing(Options()), verify=verify), plain, tmp_path / "small")
    assert result.verification is not None
    assert result.manifest.findings == ()
    assert run(tmp_path / "small/app").stdout.strip() == line_of(PACKED.expected)


def test_one_file_has_it_too(plain: Path, tmp_path: Path) -> None:
    built = Path(shutil.copytree(plain, tmp_path / "built", symlinks=True))
    application.finish_frozen(job_of(tmp_path, Packing(Options())), built, tmp_path / "one", one_file=True)
    assert run(tmp_path / "one").stdout.strip() == line_of(PACKED.expected)


def test_without_numpy_nothing_is_packed(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "app", symlinks=True))
    with open_executables(folder) as executables:
        bare = executables["app"]
        kept = {path for path, module in bare.paths().items() if not module.name.startswith("numpy")}
        save(bare.rebuilt(kept), tmp_path / "new")
    shutil.move(tmp_path / "new", folder / "app")
    result = application.optimize(job_of(tmp_path, Packing(Options())), folder, tmp_path / "small")
    assert [(each.code, each.path) for each in result.manifest.findings] == [("MB104", MODEL)]
    assert "has no numpy, which packed weights need" in result.manifest.findings[0].message
    assert (tmp_path / "small" / MODEL).read_bytes() == (plain / MODEL).read_bytes()


def test_an_executable_that_cannot_be_written_keeps_its_weights(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "app", symlinks=True))
    with open_executables(folder) as executables:
        end = executables["app"].archive.end
    (folder / "app").write_bytes((plain / "app").read_bytes()[:end])  # its table of sections was behind
    result = application.optimize(job_of(tmp_path, Packing(Options())), folder, tmp_path / "small")
    (finding,) = result.manifest.findings
    assert (finding.code, finding.path) == ("MB104", MODEL)
    assert "convert was refused: app cannot be given what loads it: " in finding.message
    assert not (tmp_path / "small" / f"{MODEL}.mlbundle").exists()


def test_what_was_packed_before_is_the_applications_own_concern(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "app", symlinks=True))
    write_pair(folder / MODEL, PACKED)
    application.optimize(job_of(tmp_path, Packing(Options())), folder, tmp_path / "small")
    assert (tmp_path / "small/app").read_bytes() == (plain / "app").read_bytes()


@pytest.mark.slow
def test_a_spec_files_application_has_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.spec").write_text(SPEC)
    (tmp_path / "pack.py").write_text(PACK)
    safetensors.save_file({"w": WEIGHTS}, (tmp_path / "model").mkdir() or tmp_path / "model/model.safetensors")
    result = pyinstaller(tmp_path, "app.spec")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "dist/app" / f"{MODEL}.mlbundle").is_file()
    assert scripts_of(tmp_path / "dist/app")[:2] == ["pyiboot01_bootstrap", LOADER]
    assert run(tmp_path / "dist/app/app").stdout.strip() == line_of(PACKED.expected)


# What the loader needs, and finds


def test_what_a_source_needs() -> None:
    source = (
        "import a, b.c\nfrom . import d\nfrom .e import f\nfrom ..g import h\nif TYPE_CHECKING:\n    import i\n"
        "try:\n    import j\nexcept ImportError:\n    import k\ndef function():\n    from l import m\n"
    )
    at_once = {"a", "b.c", "pkg.sub", "pkg.sub.d", "pkg.sub.e", "pkg.sub.e.f", "pkg.g", "pkg.g.h"}
    assert needed_at_once(source, "pkg.sub") == at_once
    assert needed_modules(source, "pkg.sub") == at_once | {"l", "l.m"}


def start(folder: Path, source: str, *lines: str) -> list[str]:
    """Run a loader's script, and lines after it, in a Python that has no json of its own, and ours neither."""
    blocked = "import sys\nfor name in ('json', 'hatch_mlbundle'):\n    sys.modules.pop(name, None)\n"
    blocked += (
        "class Without:\n    def __init__(self, finder): self.finder = finder\n"
        "    def find_spec(self, name, *more):\n"
        "        return None if name.startswith(('json', 'hatch_mlbundle')) else self.finder.find_spec(name, *more)\n"
        "sys.meta_path[:] = map(Without, sys.meta_path)\n"
    )
    script = folder / "script.py"
    script.write_text(blocked + source + "\n" + "\n".join(lines))
    result = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_what_the_application_lacks_of_the_standard_library_is_put_in(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "model.safetensors", PACKED)
    everything = {"numpy", *sys.stdlib_module_names} - {"json"}
    source = loader_source(["a.safetensors.mlbundle"], everything, compiled, "app")
    found = start(
        tmp_path,
        source,
        "import json, safetensors.numpy",
        f"array = safetensors.numpy.load_file({str(path)!r})['w']",
        "print(json.__spec__.origin, array.tobytes().hex()[:64])",
    )
    assert found == [f"mlbundle {PACKED.expected.tobytes().hex()[:64]}"]
    assert len(loader_source(["a.safetensors.mlbundle"], everything | {"json"}, compiled, "app")) < len(source)


def test_a_module_that_cannot_be_put_in_is_named() -> None:
    modules = {"numpy", *sys.stdlib_module_names}
    with pytest.raises(
        UnsoundResultError,
        match=r"^app: has no numpy, which packed weights need; import it in the application, and let no step leave it out$",
    ):
        loader_source(["a.safetensors.mlbundle"], modules - {"numpy"}, compiled, "app")


def test_the_modules_of_an_executable_are_its_own_and_those_beside_it(small: Path) -> None:
    files = {
        "_internal/app.pyz/numpy/__init__.pyc": b"",
        "_internal/my_app.pyz/json/__init__.pyc": b"",
        "_internal/pkg/mod.cpython-311-x86_64-linux-gnu.so": b"",
        "_internal/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so": b"",
        "_internal/base_library.zip": (small / "_internal/base_library.zip").read_bytes(),
    }
    found = modules_in(bundle_of(files), "_internal", "app")
    assert {"numpy", "pkg.mod", "_json", "re", "collections.abc"} <= found
    assert "json" not in found
    damaged = bundle_of({**files, "_internal/base_library.zip": b"no zip"})
    assert modules_in(damaged, "_internal", "app") == {"_struct", "struct", "zlib", "numpy", "pkg.mod", "_json"}
