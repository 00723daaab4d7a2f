from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pycsmith import RELEASE, TAG, codes, folder_of, names, optimized, reasons, run, unpacked, wheel_of

from hatch_mlbundle.cli import main
from tests.projects import environment

DOCUMENTED = '"""' + "About this module. " * 60 + '"""\n'
MODULE = DOCUMENTED + 'def value():\n    """One."""\n    assert True\n    return 1\n'
FILES = {"pkg/__init__.py": DOCUMENTED + "from .mod import value\n", "pkg/mod.py": MODULE, "pkg/data.txt": "text"}
OPTIONS = {"docstrings": False}


def test_sources_become_bytecode_that_is_imported(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, FILES)
    manifest = optimized(wheel, "sourceless", **OPTIONS)
    assert names(manifest) == {"pkg/__init__.pyc", "pkg/mod.pyc", "pkg/data.txt"}
    assert codes(manifest) == []
    site = unpacked(wheel, tmp_path / "site")
    code = "import pkg, pkg.mod; print(pkg.value(), pkg.mod.__file__, pkg.value.__code__.co_filename, pkg.value.__doc__)"
    assert run(site, code).split() == ["1", str(site / "pkg/mod.pyc"), "pkg/mod.py", "None"]
    header = (site / "pkg/mod.pyc").read_bytes()[:16]
    assert header == importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + importlib.util.source_hash(MODULE.encode())  # PEP 552
    assert main(["verify", "-q", str(wheel)]) == 0


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, FILES)
    optimized(wheel, "sourceless", **OPTIONS)
    first = wheel.read_bytes()
    optimized(wheel, "sourceless", **OPTIONS)
    assert wheel.read_bytes() == first


def test_the_same_bytes_in_any_surroundings(tmp_path: Path) -> None:
    files = {**FILES, "pkg/sets.py": DOCUMENTED * 3 + "def f(x): return x in {'a', 'b', 'c', 'd', 'e', 1, 2.5, None}\n"}
    results = set()
    for seed in ("1", "2"):
        home = tmp_path / seed
        home.mkdir()
        wheel = wheel_of(home, files)
        (home / "pyproject.toml").write_text(
            '[tool.mlbundle]\noptimizers = ["sourceless"]\n[tool.mlbundle.sourceless]\ndocstrings = false\n'
        )
        command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "-q", "--workers", seed, "--no-cache", wheel.name]
        subprocess.run(command, cwd=home, env=environment(PYTHONHASHSEED=seed), check=True, timeout=60)
        results.add((wheel.read_bytes(), (home / f"{wheel.name}.mlbundle.json").read_bytes()))
    assert len(results) == 1


@pytest.mark.parametrize(
    "tag", ["py3-none-any", "py2.py3-none-any", f"{TAG}-abi3-linux_x86_64", "cp39-cp39-linux_x86_64", f"py3.{TAG}-none-any"]
)
def test_a_wheel_for_other_pythons_stays(tmp_path: Path, tag: str) -> None:
    wheel = wheel_of(tmp_path, FILES, tag)
    before = wheel.read_bytes()
    manifest = optimized(wheel, "sourceless", **OPTIONS)
    assert wheel.read_bytes() == before
    assert codes(manifest) == ["MB941"]
    assert "is tagged" in manifest["findings"][0]["message"]


@pytest.mark.parametrize("tag", [f"{TAG}-{TAG}-linux_x86_64", f"{TAG}-none-any"])
def test_a_wheel_for_this_python_does_not(tmp_path: Path, tag: str) -> None:
    assert "pkg/mod.pyc" in names(optimized(wheel_of(tmp_path, FILES, tag), "sourceless", **OPTIONS))


def test_what_is_not_only_imported_stays(tmp_path: Path) -> None:
    scripts = {
        "pkg/__main__.py": "it may be run by its path",
        "conftest.py": "pytest looks for it by its name",
        "pkg/my-script.py": "it is no module that can be imported",
        "loose/tool.py": "its folder is no package with an __init__, so it may be a script or data",
        "demo-1.0.data/scripts/run.py": "it is no module that can be imported",
        "pkg/broken.py": "this Python cannot compile it (SyntaxError)",
    }
    files = {**FILES, **dict.fromkeys(scripts, MODULE), "pkg/broken.py": "print 'Python 2'\n", "a.pth": "import pkg\n"}
    manifest = optimized(wheel_of(tmp_path, files), "sourceless", **OPTIONS, may_grow=True)
    assert reasons(manifest).items() >= scripts.items()
    assert "a.pth" in names(manifest)
    assert codes(manifest) == []


@pytest.mark.parametrize(
    "reader",
    [
        "import inspect\ndef f(x): return inspect.getsource(x)\n",
        "import linecache\n",
        "import torch\n",
        "from numba import njit\n",
        "import os\ndef f(): return os.listdir(os.path.dirname(__file__))\n",
        "from importlib import resources\ndef f(): return [each for each in resources.files('pkg').iterdir()]\n",
        "import pkgutil\ndef f(): return pkgutil.get_data('pkg', 'mod.py')\n",
        "import glob\ndef f(here): return glob.glob(here + '/*.py')\n" + "x = '*.py'\n",
        "def f(): return open(__file__)\n",
        "DATA = __file__[:-3] + '.json'\n",
        "import inspect, os\nHERE = os.path.dirname(inspect.getfile(inspect.currentframe()))\n",
        "import os, sys\nHERE = os.path.dirname(sys._getframe().f_code.co_filename)\n",
        "import runpy\ndef f(path): return runpy.run_path(path)\n",
    ],
)
def test_a_package_that_may_read_sources_stays(tmp_path: Path, reader: str) -> None:
    files = {**FILES, "pkg/reader.py": reader, "other/__init__.py": DOCUMENTED}
    manifest = optimized(wheel_of(tmp_path, files), "sourceless", **OPTIONS)
    assert reasons(manifest)["pkg/mod.py"] == "pkg/reader.py may read sources"
    assert "other/__init__.pyc" in names(manifest)


def test_what_only_mentions_it_does_not_keep_a_package(tmp_path: Path) -> None:
    harmless = '"""Uses no torch, and no *.py."""\n# inspect.getsource, linecache\nimport os\ndef f(x): return os.listdir(x)\n'
    main_block = 'if __name__ == "__main__":\n    import doctest\n    doctest.testmod()\n'
    manifest = optimized(wheel_of(tmp_path, {**FILES, "pkg/x.py": harmless + main_block}), "sourceless", **OPTIONS)
    assert "pkg/mod.pyc" in names(manifest)


def test_the_configuration_decides(tmp_path: Path) -> None:
    files = {**FILES, "pkg/reader.py": "import torch\n", "pkg/sub/__init__.py": DOCUMENTED, "pkg/sub/m.py": MODULE}
    options = {**OPTIONS, "packages": ["pkg", "absent"], "keep": ["pkg.sub"]}
    manifest = optimized(wheel_of(tmp_path, files), "sourceless", **options)
    assert {"pkg/mod.pyc", "pkg/sub/m.py"} <= names(manifest)
    assert codes(manifest) == ["MB942"]


def test_larger_bytecode_is_taken_only_where_it_may_be(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/m.py": "x = 1\n"}
    (tmp_path / "no").mkdir()
    manifest = optimized(wheel_of(tmp_path / "no", files), "sourceless")
    assert reasons(manifest) == dict.fromkeys(files, "not smaller when converted")
    assert names(optimized(wheel_of(tmp_path, files), "sourceless", may_grow=True)) == {"pkg/__init__.pyc", "pkg/m.pyc"}


def test_bytecode_that_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    manifest = optimized(wheel_of(tmp_path, {**FILES, "pkg/mod.pyc": b"old"}), "sourceless", **OPTIONS)
    assert reasons(manifest)["pkg/mod.py"] == "mod.pyc is there already"


@pytest.mark.parametrize("asserts", [True, False])
def test_asserts_go_only_where_that_is_asked_for(tmp_path: Path, asserts: bool) -> None:
    wheel = wheel_of(tmp_path, {"pkg/__init__.py": DOCUMENTED + "def f():\n    assert False\n    return 'no assert'\n"})
    optimized(wheel, "sourceless", **OPTIONS, asserts=asserts)
    code = "import pkg\ntry: print(pkg.f())\nexcept AssertionError: print('assert')"
    assert run(unpacked(wheel, tmp_path / "site"), code).strip() == ("assert" if asserts else "no assert")


def test_of_a_folder_its_python_must_be_known(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "app", FILES)
    assert codes(optimized(root, "sourceless", **OPTIONS)) == ["MB941"]
    assert codes(optimized(root, "sourceless", **OPTIONS, python="3.9")) == ["MB941"]
    assert "pkg/mod.pyc" in names(optimized(root, "sourceless", **OPTIONS, python=RELEASE))
    venv = folder_of(tmp_path / "venv", {f"lib/python{RELEASE}/site-packages/{path}": text for path, text in FILES.items()})
    assert f"lib/python{RELEASE}/site-packages/pkg/mod.pyc" in names(optimized(venv, "sourceless", **OPTIONS))
    assert run(venv / f"lib/python{RELEASE}/site-packages", "import pkg; print(pkg.value())").strip() == "1"


def test_docstrings_that_something_reads_stay(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/help.py": "def show(x):\n    return x.__doc__\n",
        "pkg/told.py": 'from .help import show\ndef f():\n    """Read by show."""\ndef g(): return show(f)\n',
        "pkg/plain.py": MODULE,
        "pkg/command.py": 'import click\n@click.command()\ndef f():\n    """Help."""\n',
    }
    wheel = wheel_of(tmp_path, files)
    optimized(wheel, "sourceless", **OPTIONS, may_grow=True)
    site = unpacked(wheel, tmp_path / "site")
    folder_of(site, {"click.py": "def command(): return lambda f: f\n"})
    code = "import pkg.told, pkg.plain, pkg.command; print(pkg.told.g(), pkg.plain.value.__doc__, pkg.command.f.__doc__)"
    assert run(site, code).strip() == "Read by show. None Help."


PACKAGES = (
    "requests",
    "urllib3",
    "idna",
    "certifi",
    "charset_normalizer",
    "jinja2",
    "markupsafe",
    "packaging",
    "pluggy",
    "rich",
    "pygments",
)


@pytest.mark.slow
@pytest.mark.very_slow
def test_real_packages_are_imported_module_by_module(tmp_path: Path) -> None:
    """Copies of what is installed, all of it compiled, and every module that was importable before imported after."""
    root = tmp_path / "site"
    found = [spec for name in PACKAGES if (spec := importlib.util.find_spec(name)) and spec.submodule_search_locations]
    if len(found) < 3:
        pytest.skip("too few of these packages are installed")
    for spec in found:
        source = Path(next(iter(spec.submodule_search_locations or ())))
        shutil.copytree(source, root / source.name, ignore=shutil.ignore_patterns("__pycache__", "tests", "testing"))
    listing = (
        "import importlib, json, pkgutil, warnings\n"
        "warnings.simplefilter('ignore')\n"
        f"names = sorted(each.name for each in pkgutil.walk_packages([{str(root)!r}], onerror=lambda _: None))\n"
        "said = {}\n"
        "for name in names:\n"
        "    if name.endswith('__main__'): continue\n"
        "    try: said[name] = len(vars(importlib.import_module(name)))\n"
        "    except (Exception, SystemExit) as error: said[name] = type(error).__name__\n"
        "print(json.dumps(said))"
    )
    before = json.loads(run(root, listing))
    manifest = optimized(root, "sourceless", **OPTIONS, python=RELEASE, may_grow=True, packages=[spec.name for spec in found])
    assert codes(manifest) == []
    assert not [
        path for path in root.rglob("*.py") if path.name != "__main__.py" and path.relative_to(root).as_posix() not in reasons(manifest)
    ]
    assert len(list(root.rglob("*.pyc"))) > 50
    assert json.loads(run(root, listing)) == before


def test_the_wheel_is_one_that_pip_would_take(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path, FILES)
    optimized(wheel, "sourceless", **OPTIONS)
    with zipfile.ZipFile(wheel) as archive:
        record = archive.read("demo-1.0.dist-info/RECORD").decode()
    assert "pkg/mod.pyc,sha256=" in record
    assert "pkg/mod.py," not in record
