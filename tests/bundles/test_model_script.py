"""What finds models outside the bundle, in real frozen applications whose model was taken out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.executable import open_executables
from hatch_mlbundle.bundles.model_script import MODEL_SCRIPT, model_script
from hatch_mlbundle.bundles.script_code import compiled
from hatch_mlbundle.model import Add, Bundle, Change, Drop, MemoryContent
from hatch_mlbundle.optimizer import Context, Optimizer, Options
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model, text_of
from tests.bundles.test_loader import job_of
from tests.frozensmith import pyinstaller
from tests.modelsmith import FILES, files_of, model_of, serving, write_model

pytest.importorskip("PyInstaller")

PRESENT = set(sys.stdlib_module_names) - {"tarfile", "urllib", "http", "email"}
"""What a large application has of the standard library: modules by themselves, not those within packages."""
APP = """\
import os, sys
local = os.path.join(sys._MEIPASS, "models", "blip")
try:
    from hatch_mlbundle.runtime import model_path
except ImportError:
    model_path = lambda name, local: local
folder = os.fspath(model_path("blip", local=local))
with open(os.path.join(folder, "vocab.txt")) as stream:
    print(stream.read().split(), folder)
"""


class TakingOut(Optimizer[Options]):
    """Takes the model out, and leaves its descriptor."""

    name = "taking-out"
    version = "1"
    model: Model

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        yield from (Drop(path=path, reason="it lies outside") for path in bundle if "/models/blip/" in path)
        content = MemoryContent(text_of([self.model]).encode())
        yield Add(path=f"_internal/{FILE_NAME}", reason="it tells of it", content=content, mode=0o644)


def frozen(folder: Path, *arguments: str) -> Path:
    (folder / "app.py").write_text(APP)
    write_model(folder / "models/blip")
    result = pyinstaller(folder, "--add-data=models:models", *arguments, "app.py")
    assert result.returncode == 0, result.stderr
    return folder / "dist/app"


@pytest.fixture(scope="session")
def importing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an application into which PyInstaller collected the runtime."""
    return frozen(tmp_path_factory.mktemp("importing"))


@pytest.fixture(scope="session")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an application that was frozen where there is no runtime, nor what it needs but for what is no Python."""
    excluded = [f"--exclude-module={name}" for name in ("hatch_mlbundle", "urllib.request", "tarfile")]
    return frozen(tmp_path_factory.mktemp("lacking"), "--hidden-import=_ssl", *excluded)


def without_model(built: Path, target: Path, model: Model) -> Path:
    optimizer = TakingOut(Options())
    optimizer.model = model
    application.optimize(job_of(target.parent, optimizer), built, target)
    return target


def run(line: Iterable[object], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(each) for each in line], capture_output=True, text=True, check=False, timeout=120, env=variables)


def scripts_of(folder: Path) -> list[str]:
    with open_executables(folder) as executables:
        return [entry.name for entry in executables["app"].archive.entries if entry.type == "s"]


@pytest.mark.slow
@pytest.mark.parametrize("application", ["importing", "lacking"])
def test_a_frozen_application_finds_its_model(application: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    built = request.getfixturevalue(application)
    with serving({f"blip/{path}": data for path, data in FILES.items()}) as server:
        app = without_model(built, tmp_path / "app", model_of(sources=(f"{server.address}blip/",), path="models/blip"))
        assert not (app / "_internal/models").exists()
        assert MODEL_SCRIPT in scripts_of(app)
        readonly = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--bind", tmp_path, tmp_path, "--ro-bind", app, app]
        line = [*(readonly if shutil.which("bwrap") else []), app / "app"]
        home = tmp_path / "home"
        home.mkdir()
        warmed = run(line, HOME=str(home), MLBUNDLE_COMMAND="warm")
        assert (warmed.stderr, warmed.returncode) == ("", 0)
        (ready,) = (home / ".cache/mlbundle/models/ready").glob("*/blip")
        assert warmed.stdout == f"blip: {ready}, 300,006 bytes\n"
        assert files_of(ready) == FILES
        assert run(line, HOME=str(home)).stdout == f"['a', 'b'] {ready}\n"
        assert run(line, HOME=str(home), MLBUNDLE_COMMAND="verify").stdout == f"blip: {ready} is right, 300,006 bytes\n"
        assert run(line, HOME=str(home), MLBUNDLE_COMMAND="dance").returncode == 2
        assert server.asked == dict.fromkeys(server.files, 1)
    write_model(tmp_path / "app.models/blip")
    assert run(line, HOME="/nowhere").stdout == f"['a', 'b'] {tmp_path}/app.models/blip\n"
    shutil.rmtree(tmp_path / "app.models")
    failed = run(line, HOME=str(tmp_path / "other"), MLBUNDLE_COMMAND="warm", MLBUNDLE_OFFLINE="1")
    assert failed.returncode == 1
    assert failed.stderr.startswith("mlbundle: blip: is in none of its places (MLBUNDLE_MODELS is not set, ")
    assert f"{app}/_internal/models/blip is not there" in failed.stderr
    assert "MLBUNDLE_OFFLINE is set" in failed.stderr


@pytest.mark.slow
def test_one_file_has_its_neighbour(lacking: Path, tmp_path: Path) -> None:
    optimizer = TakingOut(Options())
    optimizer.model = model_of()
    built = Path(shutil.copytree(lacking, tmp_path / "built", symlinks=True))
    application.finish_frozen(job_of(tmp_path, optimizer), built, tmp_path / "one", one_file=True)
    write_model(tmp_path / "one.models/blip")
    assert run([tmp_path / "one"], HOME="/nowhere").stdout == f"['a', 'b'] {tmp_path}/one.models/blip\n"


@pytest.mark.slow
def test_a_second_build_leaves_the_executable_as_it_is(lacking: Path, tmp_path: Path) -> None:
    app = without_model(lacking, tmp_path / "app", model_of())
    before = (app / "app").read_bytes()
    application.optimize(job_of(tmp_path), app)
    assert (app / "app").read_bytes() == before


def test_nothing_is_put_in_that_an_application_has() -> None:
    modules = {*PRESENT, "hatch_mlbundle", "hatch_mlbundle.runtime", "hatch_mlbundle.runtime.models"}
    bare = model_script(modules, compiled)
    assert "'hatch_mlbundle" not in bare.replace("'hatch_mlbundle.runtime.models'", "")
    assert len(bare) < 5000
    whole = model_script(PRESENT, compiled)
    assert "'hatch_mlbundle.runtime.models.store': (False" in whole
    assert "'hatch_mlbundle.runtime.models': (True" in whole
    assert "'hatch_mlbundle.runtime.place_lock': (False" in whole
    assert "'tarfile': (False" in whole
    assert "patching" not in whole
    assert len(model_script({*PRESENT, "tarfile", "http.client", "urllib.request", "email.parser"}, compiled)) < len(whole)
    assert model_script(sorted(PRESENT), compiled) == whole


def test_the_script_of_a_process_without_a_command_imports_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        model_script(PRESENT, compiled) + "import sys\nprint([name for name in sys.modules if name.startswith('hatch_mlbundle')])\n"
    )
    result = subprocess.run(
        [shutil.which("python3") or "python3", "-I", "-S", script], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert result.stdout == "[]\n"
