from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from hatch_mlbundle.optimizers.python_sources import PythonSources, PythonSourcesOptions
from tests.builders import Plan, plan_of
from tests.optimizers.test_exclude_modules import frozen, names


def plan(files: Mapping[str, str | bytes], **options: Sequence[str]) -> Plan:
    return plan_of(PythonSources(PythonSourcesOptions(**options)), frozen(files))  # type: ignore[arg-type]


def both(*modules: str, **texts: str) -> dict[str, str | bytes]:
    """Return modules as bytecode and as source."""
    return {f"{where}{path}": texts.get(path.rpartition("/")[2].removesuffix(".py"), "") for path in modules for where in ("pyz/", "")}


def test_sources_go_only_where_the_module_is_in_the_executable() -> None:
    result = plan({**both("pkg/__init__.py", "pkg/a.py"), "pkg/b.py": "", "other.py": ""})
    assert names(result.dropped) == ["pkg/__init__.py", "pkg/a.py"]
    assert not result.kept


@pytest.mark.parametrize(
    "reader",
    [
        "import inspect\nsource = inspect.getsource(f)",
        "import linecache",
        "import ast",
        "import pkgutil\npkgutil.iter_modules(__path__)",
        "import os\nos.listdir(os.path.dirname(__file__))",
        "from pathlib import Path\nlist(Path(__file__).parent.glob('*.py'))",
        "import torch",
    ],
)
def test_the_sources_of_a_package_that_may_read_them_stay(reader: str) -> None:
    files = {**both("pkg/__init__.py", "pkg/a.py"), "pyz/pkg/reader.py": reader}
    result = plan(files)
    assert names(result.kept) == ["pkg/__init__.py", "pkg/a.py"]
    assert result.kept["_internal/pkg/a.py"] == "_internal/app.pyz/pkg/reader.pyc may read sources"
    assert names(plan(files, packages=["pkg"]).dropped) == ["pkg/__init__.py", "pkg/a.py"]
    assert names(plan(files, packages=["pkg"], keep=["pkg.a"]).dropped) == ["pkg/__init__.py"]


def test_another_executable_that_lacks_the_module_keeps_the_source() -> None:
    one = frozen(both("pkg/__init__.py", "pkg/a.py"))
    both_apps = one.replacing([next(iter(frozen({"pyz/pkg/__init__.py": ""}).values()))])
    assert names(plan_of(PythonSources(PythonSourcesOptions()), both_apps).dropped) == ["pkg/__init__.py", "pkg/a.py"]


def test_torch_keeps_what_it_parses() -> None:
    modules = [
        f"torch/{each}.py"
        for each in ("__init__", "functional", "nn/__init__", "nn/modules/rnn", "cuda/__init__", "_tensor_docs", "settings", "overloads")
    ]
    texts = {"settings": "install_config_module(x)", "overloads": "@torch._jit_internal._overload\ndef f(x): ..."}
    result = plan(both(*modules, **texts))
    assert names(result.dropped) == ["torch/_tensor_docs.py"]


def test_transformers_keeps_the_folders_that_it_lists() -> None:
    modules = ["__init__", "trainer", "models/__init__", "models/bert/__init__", "models/bert/modeling_bert", "decision/heads"]
    files = both(*(f"transformers/{each}.py" for each in modules))
    lazy = "_file = __file__\ndefine_import_structure(_file)"
    files |= {"pyz/transformers/decision/__init__.py": lazy, "transformers/decision/__init__.py": lazy}
    assert names(plan(files).dropped) == ["transformers/trainer.py"]


def test_names_that_match_nothing_are_told() -> None:
    result = plan(both("pkg/__init__.py"), packages=["pkg", "pgk"], keep=["missing"])
    assert [(finding.code, "pgk" in finding.message or "missing" in finding.message) for finding in result.findings] == [
        ("MB321", True)
    ] * 2
