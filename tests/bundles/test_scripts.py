from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.scripts import entry_scripts, python_release
from hatch_mlbundle.importtime import Needs, examine_needs
from hatch_mlbundle.model import Bundle, DiskContent, File, Kind
from hatch_mlbundle.unmarshal import RELEASE
from tests.builders import bundle_of

pytest.importorskip("PyInstaller")


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "hello.py").write_text("import json\ndef main():\n    import colorsys\nmain()\n", encoding="utf-8")
    command = [sys.executable, "-m", "PyInstaller", "-y", "--log-level", "ERROR", "hello.py"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "dist/hello/hello"


def frozen(path: Path) -> Bundle:
    file = File(
        path=path.name, size=path.stat().st_size, sha256="", mode=0o755, kind=Kind.FROZEN, owner="python", content=DiskContent(path)
    )
    return Bundle([file])


def test_the_scripts_of_a_real_executable_tell_what_they_import(executable: Path) -> None:
    scripts = {script.path: script for script in entry_scripts(frozen(executable))}
    assert not any("pyiboot" in path or "pyimod" in path for path in scripts)
    needs = Needs.from_json(examine_needs(scripts["hello.pyz/hello.pyc"]))
    assert ((0, "json", ()) in needs.first, (0, "colorsys", ()) in needs.later, needs.error) == (True, True, None)


def test_its_release_of_python_is_known(executable: Path) -> None:
    assert python_release(frozen(executable)) == RELEASE
    assert python_release(bundle_of({"a.py": ""})) is None
