"""`mlbundle trace` on a Python with packages, as a virtual environment has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.profile import load_profile
from hatch_mlbundle.tracing.interpreter import find_interpreter
from tests.projects import REPOSITORY
from tests.tracing.application import UNUSED, USED, write_application

pytestmark = pytest.mark.skipif(os.name != "posix", reason="starts processes as POSIX systems do")
PROFILE = "profile.json"
_METADATA = "Metadata-Version: 2.1\nName: Other_Name\nVersion: 1.0\n"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with the application as an installed package, a second package, a script and a `sitecustomize`."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    packages = site_packages(folder)
    write_application(packages)
    (packages / "app.py").rename(packages / "traced_app.py")
    (packages / "sitecustomize.py").write_text("import os\nos.environ['NEXT'] = 'ran'\n")
    (packages / "early.pth").write_text("import pathlib\n")
    info = packages / "other_name-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(_METADATA)
    (packages / "other").mkdir()
    for name in ("__init__", "used", "unused"):
        (packages / f"other/{name}.py").write_text("")
    (info / "RECORD").write_text("".join(f"other/{name}.py,,\n" for name in ("__init__", "used", "unused")) + "../../../bin/x,,\n")
    script = folder / "bin/traced-app"
    script.write_text(f"#!{folder}/bin/python\nimport traced_app\nif __name__ == '__main__':\n    traced_app.main()\n")
    script.chmod(0o755)
    return folder


def site_packages(venv: Path) -> Path:
    (found,) = venv.glob("lib/python*/site-packages")
    return found


def traced(folder: Path, *arguments: str | Path, status: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", "trace", "-o", PROFILE, *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder), **more}
    result = subprocess.run(command, cwd=folder, env=variables, input="hello\n", capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == status, result.stderr
    assert [path.name for path in folder.iterdir() if "mlbundle" in path.name] == []
    return result


def short(paths: frozenset[str]) -> set[str]:
    return {path.removesuffix(".py") for path in paths if path.startswith(("pets/", "files/", "libreader"))}


@pytest.mark.skipif(sys.platform != "linux", reason="what native code opens is seen on Linux only")
@pytest.mark.parametrize("way", ["script", "module"])
def test_everything_that_a_run_uses_is_seen(way: str, venv: Path, tmp_path: Path) -> None:
    started = [venv / "bin/traced-app"] if way == "script" else [venv / "bin/python", "-m", "traced_app"]
    result = traced(tmp_path, "--", *started, "argument")
    profile = load_profile(tmp_path / PROFILE)
    assert short(profile.used) == USED
    assert short(profile.unused) == UNUSED
    assert {"traced_app.py", "sitecustomize.py", "early.pth"} <= profile.used
    assert "other/used.py" in profile.unused
    assert [path for path in profile.inventory if "__pycache__" in path] == []
    assert result.stdout == "child\ncat hello argument\n"


def test_the_next_sitecustomize_runs_and_nothing_of_ours_is_on_the_path(venv: Path, tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['NEXT'], sys.modules['sitecustomize'].__file__, [p for p in sys.path if 'mlbundle-' in p])"
    result = traced(tmp_path, "--", venv / "bin/python", "-c", code, PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}")
    assert result.stdout == f"ran {site_packages(venv)}/sitecustomize.py []\n"


def test_a_package_alone_may_count(venv: Path, tmp_path: Path) -> None:
    traced(tmp_path, "--package", "other.name", "--", venv / "bin/python", "-c", "import other.used")
    profile = load_profile(tmp_path / PROFILE)
    assert profile.used == {"other/__init__.py", "other/used.py"}
    assert profile.unused == {"other/unused.py"}


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_python_that_shuts_us_out_is_one_line_and_no_profile(option: str, venv: Path, tmp_path: Path) -> None:
    result = traced(tmp_path, "--", venv / "bin/python", option, "-c", "print('ran')", status=2)
    assert result.stdout == "ran\n"
    (line,) = result.stderr.splitlines()
    assert "options -I, -E and -S" in line
    assert not (tmp_path / PROFILE).exists()


def test_a_package_that_is_not_installed_is_one_line(venv: Path, tmp_path: Path) -> None:
    result = traced(tmp_path, "--package", "nothing", "--", venv / "bin/python", "-c", "print('ran')", status=2)
    assert result.stdout == ""
    assert "--package nothing: is not installed in" in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("python3.12", "", True),
        ("pypy3", "", True),
        ("pythonic", "\x7fELF", False),
        ("script", "#!{python}\n", True),
        ("script", "#! {python} -u\n", True),
        ("script", "#!/usr/bin/env -S X=1 python -u\n", True),
        ("script", '#!/bin/sh\n\'\'\'exec\' "{python}" "$0" "$@"\n', True),
        ("script", "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n", True),
        ("script", "#!/bin/sh\nexec python x\n", False),
        ("script", "#!/usr/bin/env\n", False),
        ("script", "#!\n", False),
        ("script", "", False),
    ],
)
def test_which_python_a_program_is_or_starts(name: str, text: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program = tmp_path / name
    program.write_text(text.format(python=python))
    assert find_interpreter(program) == ((program if name.startswith("py") else python) if found else None)
