"""Applications whose model left, from the build to the run: frozen, and as a wheel in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import FROZEN, project_config
from hatch_mlbundle.application import Result, finish_frozen, optimize
from hatch_mlbundle.job import prepare
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME
from tests.bundledmodels import below, safetensors_file, transformers_files, write_files
from tests.bundles.wheelsmith import build_wheel
from tests.frozensmith import pyinstaller
from tests.projects import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="applications are run as POSIX systems do")]

_APP = """\
import os, sys
from hatch_mlbundle.runtime.models import ModelUnavailableError, model_path
import json, struct

here = getattr(sys, "_MEIPASS", None) or os.path.dirname(__file__)
try:
    folder = model_path("bert", local=os.path.join(here, "bert"))
except ModelUnavailableError as error:
    sys.exit(f"app: {error}")
data = (folder / "model.safetensors").read_bytes()
(length,) = struct.unpack("<Q", data[:8])
print(sorted(json.loads(data[8 : 8 + length])), struct.unpack("<3f", data[8 + length + 4 : 8 + length + 16]))
print(folder, file=sys.stderr)
"""
_SPEC = """\
a = Analysis(["app.py"], datas=[("bert", "bert")], pathex=[{repository!r}])
from hatch_mlbundle.adapters.pyinstaller import optimize
optimize(a)
pyz = PYZ(a.pure)
exe = EXE(pyz, a.scripts, exclude_binaries=True, name="app")
coll = COLLECT(exe, a.binaries, a.datas, name="app")
"""
SAID = "['layer.weight'] (1.0, 2.0, 3.0)\n"


def optimized(folder: Path, artifact: Path, target: Path, **options: Any) -> Result:
    registry = load_registry()
    settings = {"optimizers": ["externalize"], "externalize": {"models": ["bert/"], **options.pop("externalize", {})}, **options}
    table = FROZEN if artifact.is_dir() else "tool.mlbundle"
    return optimize(prepare(project_config(folder, registry, settings, table), registry, project=folder), artifact, target)


def run(folder: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "HOME": str(folder / "home"), "LANG": "C.UTF-8", **variables}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("PyInstaller")
    folder = write_files(tmp_path_factory.mktemp("frozen"), {"app.py": _APP, **below("bert", transformers_files())})
    result = pyinstaller(folder, "--paths", str(REPOSITORY), "--add-data", f"bert{os.pathsep}bert", "app.py")
    assert result.returncode == 0, result.stderr
    return folder / "dist/app"


def test_a_frozen_application_finds_its_model_wherever_it_may_be(frozen: Path, tmp_path: Path) -> None:
    verify = {"commands": [{"run": ["{bundle}/app"]}], "jail": True}
    uploads = tmp_path / "uploads"
    externalize = {"mode": "download", "sources": [f"file://{uploads}/{{name}}/"]}
    result = optimized(tmp_path, frozen, tmp_path / "app", verify=verify, externalize=externalize)
    assert result.manifest.findings == ()
    app, beside = tmp_path / "app/app", tmp_path / "app.models"
    assert not (tmp_path / "app/_internal/bert").exists()
    assert run(tmp_path, frozen / "app").stdout == SAID

    neighbour = run(tmp_path, app)
    assert (neighbour.stdout, neighbour.stderr.strip()) == (SAID, str(beside / "bert"))

    moved = shutil.move(beside, tmp_path / "elsewhere")
    told = run(tmp_path, app, MLBUNDLE_MODELS=str(moved))
    assert (told.stdout, told.stderr.strip()) == (SAID, str(tmp_path / "elsewhere/bert"))
    alone = run(tmp_path, app, MLBUNDLE_MODEL_BERT=str(tmp_path / "elsewhere/bert"))
    assert alone.stdout == SAID

    missing = run(tmp_path, app)
    assert missing.returncode == 1
    assert missing.stderr.startswith("app: bert: is in none of its places")
    assert missing.stderr.count("\n") == 1

    shutil.move(moved, uploads)
    fetched = run(tmp_path, app, MLBUNDLE_STORE=str(tmp_path / "store"))
    assert fetched.stdout == SAID, fetched.stderr
    assert str(tmp_path / "store") in fetched.stderr
    shutil.rmtree(uploads)
    assert run(tmp_path, app, MLBUNDLE_STORE=str(tmp_path / "store")).stdout == SAID


def test_of_one_executable_the_models_lie_beside_it(frozen: Path, tmp_path: Path) -> None:
    built = Path(shutil.copytree(frozen, tmp_path / "built/app", symlinks=True))
    registry = load_registry()
    config = project_config(tmp_path, registry, {"optimizers": ["externalize"], "externalize": {"models": ["bert/"]}}, FROZEN)
    finish_frozen(prepare(config, registry, project=tmp_path), built, tmp_path / "one", one_file=True)
    said = run(tmp_path, tmp_path / "one")
    assert (said.stdout, said.stderr.strip()) == (SAID, str(tmp_path / "one.models/bert"))
    shutil.rmtree(tmp_path / "one.models")
    assert run(tmp_path, tmp_path / "one").stderr.startswith("app: bert: is in none of its places")


def test_a_model_is_updated_alone(frozen: Path, tmp_path: Path) -> None:
    optimized(tmp_path, frozen, tmp_path / "app", externalize={"form": "tar"})
    newer = write_files(
        tmp_path / "newer", {**below("bert", {**transformers_files(), "model.safetensors": safetensors_file(2)}), "a.py": _APP}
    )
    optimized(tmp_path, newer, tmp_path / "new", externalize={"form": "tar"})
    assert run(tmp_path, tmp_path / "app/app").stdout == SAID
    shutil.copytree(tmp_path / "new.models", tmp_path / "app.models", dirs_exist_ok=True)
    assert run(tmp_path, tmp_path / "app/app").stdout == "['layer.weight'] (2.0, 4.0, 6.0)\n"


def test_a_trace_finds_the_model_beside_the_application(frozen: Path, tmp_path: Path) -> None:
    optimized(tmp_path, frozen, tmp_path / "app")
    command = [sys.executable, "-m", "hatch_mlbundle", "trace", "-o", tmp_path / "profile.json", "--", tmp_path / "app/app"]
    traced = run(tmp_path, *command, PYTHONPATH=str(REPOSITORY), MLBUNDLE_STORE=str(tmp_path / "store"))
    assert (traced.returncode, traced.stdout) == (0, SAID), traced.stderr


@pytest.mark.parametrize("vendor", [True, False])
def test_a_wheel_finds_its_model_in_an_environment_of_its_own(tmp_path: Path, vendor: bool) -> None:
    code = _APP.replace("hatch_mlbundle.runtime.models", "demo._mlbundle.models" if vendor else "hatch_mlbundle.runtime.models")
    (tmp_path / "in").mkdir()
    files = {"demo/__init__.py": b"", "demo/__main__.py": code.encode(), **below("demo/bert", transformers_files())}
    wheel = build_wheel(tmp_path / "in", files)
    optimized(tmp_path, wheel, tmp_path / wheel.name, externalize={"vendor": vendor, "sources": [f"file://{tmp_path}/up/{{name}}/"]})
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", tmp_path / wheel.name], check=True
    )
    installed = next((tmp_path / "venv").glob("lib/python*/site-packages/demo"))
    assert (installed / FILE_NAME).is_file()
    assert not (installed / "bert").exists()
    paths = {} if vendor else {"PYTHONPATH": str(REPOSITORY)}

    missing = run(tmp_path, python, "-m", "demo", **paths)
    assert (missing.returncode, missing.stderr.startswith("app: bert: ")) == (1, True), missing.stderr
    beside = tmp_path / f"{wheel.name}.models"
    assert run(tmp_path, python, "-m", "demo", MLBUNDLE_MODELS=str(beside), **paths).stdout == SAID
    shutil.move(beside, tmp_path / "up")
    fetched = run(tmp_path, python, "-m", "demo", **paths)
    assert fetched.stdout == SAID, fetched.stderr
    assert str(tmp_path / "home") in fetched.stderr


def test_a_spec_file_collects_what_models_leave(tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    configuration = '[tool.mlbundle]\noptimizers = ["externalize"]\n[[tool.mlbundle.externalize.model]]\npath = "bert"\n'
    files = {"app.py": _APP, "app.spec": _SPEC.format(repository=str(REPOSITORY)), "pyproject.toml": configuration}
    folder = write_files(tmp_path, {**files, **below("bert", transformers_files())})
    result = pyinstaller(folder, "app.spec")
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "dist/app/_internal/bert").exists()
    said = run(tmp_path, tmp_path / "dist/app/app")
    assert (said.stdout, said.stderr.strip()) == (SAID, str(tmp_path / "dist/app.models/bert"))
