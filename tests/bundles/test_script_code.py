"""Scripts put into real frozen executables."""

from __future__ import annotations

import marshal
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.executable import Executable, find_executable, open_executables
from hatch_mlbundle.bundles.executable_writer import save
from hatch_mlbundle.bundles.script_code import script_code
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import MissingProgramError
from tests.frozensmith import SAID, craft, craft_pyz, frozen_folder, says
from tests.pythons import RELEASES, find_python

SOURCE = "import sys, encodings\nprint('first', end=' ')\n"


def with_script(executable: Executable, source: str, target: Path) -> list[str]:
    """Write the executable with one script more, and return the names of its entries."""
    kept = {executable.path_of(module) for module in executable.modules}
    save(executable.rebuilt(kept, scripts=[("mlbundle_first", script_code(executable, source, "first.py"))]), target)
    target.chmod(0o755)
    with closing(SharedFile(target)) as file:
        found = find_executable(file, executable.path)
        assert found is not None
        assert [module.path for module in found.modules] == [module.path for module in executable.modules]
        return [entry.name for entry in found.archive.entries]


def test_a_script_runs_before_the_application_and_its_hooks(tmp_path: Path) -> None:
    folder = frozen_folder(tmp_path)
    with open_executables(folder) as executables:
        names = with_script(executables["app"], SOURCE, folder / "other")
    assert names[names.index("mlbundle_first") - 1] == "pyiboot01_bootstrap"
    assert names.index("mlbundle_first") < names.index("app")
    assert says(folder / "other") == f"first {SAID}"


@pytest.mark.parametrize("release", RELEASES)
def test_code_of_another_release_is_compiled_by_that(release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = find_python(release)
    if python is None:
        pytest.skip(f"needs Python {release}")
    (tmp_path / f"python{release}").symlink_to(python)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = [python, "-c", "import importlib.util, sys; sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER)"]
    magic = subprocess.run(asked, capture_output=True, check=True).stdout
    code = script_code_for(magic, int(release.replace(".", "")), tmp_path)
    run = "import marshal, sys; exec(marshal.loads(sys.stdin.buffer.read()))"
    assert subprocess.run([python, "-c", run], input=code, capture_output=True, check=True).stdout == b"first "


def test_a_release_that_is_not_here_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"app: was frozen with Python 3\.9, .* put python3\.9 on the PATH") as caught:
        script_code_for(b"\x61\r\r\n", 309, tmp_path)
    assert "\n" not in str(caught.value)


def script_code_for(magic: bytes, python: int, folder: Path) -> bytes:
    (folder / "app").write_bytes(craft([craft_pyz([])]))
    with closing(SharedFile(folder / "app")) as file:
        found = find_executable(file, "app")
        assert found is not None
        assert found.pyz is not None
        other = replace(found, archive=replace(found.archive, python=python), pyz=replace(found.pyz, bytecode=magic))
        return script_code(other, SOURCE, "first.py")


def test_of_this_release_the_code_is_whole(tmp_path: Path) -> None:
    with open_executables(frozen_folder(tmp_path)) as executables:
        assert marshal.loads(script_code(executables["app"], SOURCE, "first.py")).co_filename == "first.py"
