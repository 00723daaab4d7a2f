from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizers.test_data import TestData, TestDataOptions
from tests.builders import PlainContext, Plan, bundle_of, file_of, plan_of

TEST = "def test_it():\n    pass\n"
ELF = b"\x7fELF" + bytes(60)
INFO = {"pkg-1.0.dist-info/METADATA": "Name: pkg", "pkg-1.0.dist-info/RECORD": "", "pkg-1.0.dist-info/licenses/test/LICENSE": "MIT"}


def plan(contents: Mapping[str, bytes | str], **options: tuple[str, ...]) -> Plan:
    return plan_of(TestData(TestDataOptions(**options)), bundle_of(contents))  # type: ignore[arg-type]


def package(files: Mapping[str, bytes | str] = MappingProxyType({})) -> dict[str, bytes | str]:
    """Return `pkg` with a folder of tests, and more files or other contents."""
    return {
        "pkg/__init__.py": "",
        "pkg/core.py": "",
        "pkg/tests/__init__.py": "",
        "pkg/tests/support.py": "",
        "pkg/tests/test_core.py": TEST,
        "pkg/tests/data/table.csv": "1,2",
        **files,
    }


def with_core(source: str) -> Plan:
    return plan({**package(), "pkg/core.py": source})


def test_a_whole_test_folder_goes_and_says_why() -> None:
    result = plan({**package(), **INFO})
    assert sorted(result.dropped) == [
        "pkg/tests/__init__.py",
        "pkg/tests/data/table.csv",
        "pkg/tests/support.py",
        "pkg/tests/test_core.py",
    ]
    assert result.dropped["pkg/tests/test_core.py"] == ("test module of pkg (folder 'tests'); nothing that stays imports or opens it")
    assert result.dropped["pkg/tests/data/table.csv"].startswith("test data of pkg")
    assert not result.kept
    assert not result.findings


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("import pkg.tests.support", "pkg/core.py:1 imports"),
        ("from .tests import support", "pkg/core.py:1 imports"),
        ("from pkg.tests.support import thing", "pkg/core.py:1 imports"),
        ("from .tests.support import *", "pkg/core.py:1 imports"),
        ("try:\n    from pkg.tests import (\n        support,\n    )\nexcept ImportError:\n    pass", "pkg/core.py:2 imports"),
        ("def f():\n    from pkg.tests import support", "pkg/core.py:2 (in f) imports"),
        ("import importlib\nimportlib.import_module('pkg.tests.support')", "pkg/core.py:2 names"),
        ("import importlib\nimportlib.import_module('.tests.support', __package__)", "pkg/core.py:2 names"),
        ("__import__('pkg.tests.support')", "pkg/core.py:1 names"),
        ("lazy = {'support': 'tests.support'}", "pkg/core.py:1 names"),
        ("pytest_plugins = ['pkg.tests.support']", "pkg/core.py:1 names"),
        ("name = 'pkg'\nload(f'{name}.tests.support')", "pkg/core.py:2 names"),
        ("entry = 'pkg.tests.support:main'", "pkg/core.py:1 names"),
        ("import os\nrun(os.path.join(os.path.dirname(__file__), 'tests', 'support.py'))", "pkg/core.py:2 names"),
    ],
)
def test_what_a_module_imports_stays(source: str, where: str) -> None:
    result = with_core(source)
    assert result.kept["pkg/tests/support.py"].startswith(where)
    assert result.kept["pkg/tests/__init__.py"]
    assert "pkg/tests/test_core.py" in result.dropped


@pytest.mark.parametrize(
    "source",
    [
        "import os\nopen(os.path.join(os.path.dirname(__file__), 'tests', 'data', 'table.csv'))",
        "import os\nopen(os.path.join(os.path.dirname(__file__), 'tests', 'data', name))",
        "import os\nopen(os.path.join(os.path.dirname(__file__), '..', 'pkg', 'tests/data/table.csv'))",
        "from pathlib import Path\nHERE = Path(__file__).parent / 'tests'\nopen(HERE / 'data/table.csv')",
        "from pathlib import Path\n(Path(__file__).parent / 'tests' / 'data' / f'{name}.csv').open()",
        "from pathlib import Path\nPath(__file__).with_name('tests').joinpath('tests', 'data')",
        "open(f'{here}/tests/data/{name}.csv')",
        "open(here + '/tests/data/table.csv')",
        "open('{}/tests/data/{}'.format(here, name))",
        "open('%s/tests/data/%s.csv' % (here, name))",
        "import glob\nglob.glob(here + '/tests/data/*.csv')",
        "from importlib.resources import files\nfiles('pkg.tests') / name",
        "import pkgutil\npkgutil.get_data('pkg.tests', name)",
        "import pkgutil\npkgutil.get_data(__name__, 'tests/data/table.csv')",
        "open(here + '\\\\tests\\\\data\\\\table.csv')",
    ],
)
def test_what_a_module_opens_stays(source: str) -> None:
    result = with_core(source)
    assert result.kept["pkg/tests/data/table.csv"].startswith("pkg/core.py:")
    assert "pkg/tests/test_core.py" in result.dropped


@pytest.mark.parametrize(
    "source",
    [
        "def test():\n    import pytest\n    pytest.main(['--pyargs', 'pkg'])",
        "def test():\n    import os, pytest\n    pytest.main([os.path.join(os.path.dirname(__file__), 'tests')])",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .tests import support",
        "import typing\nif typing.TYPE_CHECKING:\n    import pkg.tests.support\nelse:\n    support = None",
        "'''See pkg.tests.support and tests/data/table.csv.'''\ndef f():\n    'pkg.tests.support'",
        "# from pkg.tests import support",
        "ignored = ['tests', 'conftest']",
    ],
)
def test_what_only_speaks_of_tests_keeps_none(source: str) -> None:
    assert not with_core(source).kept


def test_what_is_kept_keeps_what_it_needs() -> None:
    files = package(
        {
            "pkg/core.py": "from .tests.support import load",
            "pkg/tests/support.py": "from . import common\nfrom .other.deep import x\nopen('table.csv')\nopen(HERE / 'data' / name)",
            "pkg/tests/support.pyi": "",
            "pkg/tests/__pycache__/support.cpython-311.pyc": b"x",
            "pkg/tests/common.py": "import pkg.tests.last",
            "pkg/tests/last.py": "",
            "pkg/tests/other/__init__.py": "",
            "pkg/tests/other/deep.py": "",
        }
    )
    result = plan(files)
    assert sorted(result.dropped) == ["pkg/tests/test_core.py"]
    assert result.kept["pkg/tests/last.py"] == "pkg/tests/common.py:1 imports pkg.tests.last"
    assert "pkg/tests/other/__init__.py" in result.kept


def test_the_package_of_tests_alone_does_not_keep_the_tests() -> None:
    result = with_core("from . import tests")
    assert sorted(result.kept) == ["pkg/tests/__init__.py"]


def test_numpy_keeps_its_testing_api_and_what_that_imports() -> None:
    result = plan(
        {
            "numpy/__init__.py": "def __dir__():\n    return set(globals()) - {'tests', 'conftest'}",
            "numpy/conftest.py": "import pytest",
            "numpy/testing/__init__.py": "from ._private import utils",
            "numpy/testing/_private/utils.py": "from numpy._core._multiarray_tests import f",
            "numpy/testing/tests/test_utils.py": TEST,
            "numpy/_core/__init__.py": "",
            "numpy/_core/_multiarray_tests.cpython-311-x86_64-linux-gnu.so": ELF,
            "numpy/_core/_umath_tests.cpython-311-x86_64-linux-gnu.so": ELF,
            "numpy/_core/_umath_tests.pyi": "",
            "numpy/_core/_simd_tests.cpython-311-x86_64-linux-gnu.so": ELF,
            "numpy/_core/tests/test_umath.py": "from numpy._core import _umath_tests\n" + TEST,
        }
    )
    assert "numpy/testing/tests/test_utils.py" in result.dropped
    assert "numpy/testing/_private/utils.py" not in {**result.kept, **result.dropped}
    assert "imports numpy._core._multiarray_tests" in result.kept["numpy/_core/_multiarray_tests.cpython-311-x86_64-linux-gnu.so"]
    assert "tests alone import it" in result.dropped["numpy/_core/_umath_tests.cpython-311-x86_64-linux-gnu.so"]
    assert "no test imports it" in result.kept["numpy/_core/_simd_tests.cpython-311-x86_64-linux-gnu.so"]


def test_scipy_keeps_modules_that_are_called_like_tests() -> None:
    result = plan(
        {
            "scipy/__init__.py": "",
            "scipy/stats/__init__.py": "from ._bws_test import bws_test",
            "scipy/stats/_bws_test.py": "def bws_test(x): ...",
            "scipy/stats/perf_test.py": TEST + "if __name__ == '__main__':\n    main()\n",
            "scipy/stats/absl_test.py": "class A(x.TestCase):\n    def test(self): ...\nif __name__ == '__main__':\n    unittest.main()\n",
            "scipy/_lib/_testutils.py": "",
        }
    )
    assert sorted(result.kept) == ["scipy/stats/_bws_test.py", "scipy/stats/perf_test.py"]
    assert sorted(result.dropped) == ["scipy/stats/absl_test.py"]


def test_django_and_torch_keep_what_is_no_test() -> None:
    result = plan(
        {
            "django/__init__.py": "",
            "django/test/__init__.py": "from django.test.client import Client",
            "django/test/client.py": "class Client: ...",
            "torch/__init__.py": "",
            "torch/_dynamo/test_case.py": "class TestCase: ...",
            "torch/include/c10/test/util.h": "",
            "torch/test/list_test": ELF,
            "torch/test/half_test": ELF,
            "torch/test/basic": ELF,
            "torch/testing/_internal/conftest.py": "",
        }
    )
    assert sorted(result.dropped) == ["torch/test/basic", "torch/test/half_test", "torch/test/list_test"]
    assert "no test module" in result.kept["django/test/client.py"]
    assert "headers" in result.kept["torch/include/c10/test/util.h"]
    assert "torch/testing/_internal/conftest.py" not in result.kept


def test_a_split_of_a_data_set_is_no_test_folder() -> None:
    result = plan({"pkg/__init__.py": "", "pkg/set/train/a_test.bin": "1", "pkg/set/test/a_test.bin": "2"})
    assert "split" in result.kept["pkg/set/test/a_test.bin"]


@pytest.mark.parametrize("top", ["testtools", "_pytest", "pytest_asyncio", "unittest"])
def test_a_package_for_testing_stays_whole(top: str) -> None:
    result = plan({f"{top}/__init__.py": "", f"{top}/tests/__init__.py": "", f"{top}/tests/test_a.py": TEST})
    assert not result.dropped


def test_tests_at_the_top_of_a_wheel_go_unless_the_distribution_is_called_so() -> None:
    stray = {"pkg/__init__.py": "", "tests/__init__.py": "", "tests/test_a.py": TEST}
    assert sorted(plan(stray).dropped) == ["tests/__init__.py", "tests/test_a.py"]
    assert not plan({**stray, "tests-1.0.dist-info/METADATA": ""}).dropped


def test_a_licence_goes_only_with_all_that_it_covers() -> None:
    files = {**package(), "pkg/tests/data/LICENSE": "MIT", "pkg/tests/other/COPYING": "GPL", "pkg/tests/other/x.csv": "1"}
    assert "licence" in plan(files).dropped["pkg/tests/data/LICENSE"]
    result = plan({**files, "pkg/core.py": "open(here + '/tests/data/table.csv')"})
    assert result.kept["pkg/tests/data/LICENSE"] == "licence of files that stay"
    assert "pkg/tests/other/COPYING" in result.dropped


def test_metadata_and_markers_are_never_touched() -> None:
    result = plan({**package(), **INFO, "pkg/tests/py.typed": ""})
    assert not {path for path in result.dropped if "dist-info" in path or path.endswith("py.typed")}


def test_an_entry_point_keeps_its_module() -> None:
    info = {"pkg-1.0.dist-info/entry_points.txt": "[networkx.backends]\nnx = pkg.tests.support:backend [extra]\n"}
    result = plan({**package(), **info})
    assert result.kept["pkg/tests/support.py"] == "pkg-1.0.dist-info/entry_points.txt names it: the entry point 'nx'"


def test_a_damaged_entry_points_file_is_reported() -> None:
    result = plan({**package(), "pkg-1.0.dist-info/entry_points.txt": "nonsense"})
    assert [finding.code for finding in result.findings] == ["MB301"]


def test_a_compiled_module_keeps_what_it_names_even_across_pieces() -> None:
    for before in (0, 2**20 - 60 - 5, 2**20 - 60 - 18):
        data = ELF + b"x" * before + b"\0pkg.tests.support\0" + b"y" * 700
        result = plan({**package(), "pkg/_c.cpython-311-x86_64-linux-gnu.so": data})
        assert result.kept["pkg/tests/support.py"] == "pkg/_c.cpython-311-x86_64-linux-gnu.so holds the name pkg.tests.support"


def test_a_link_keeps_its_target() -> None:
    files = bundle_of(package())
    bundle = files.replacing([file_of("pkg/table.csv", b"", link="tests/data/table.csv")])
    result = plan_of(TestData(TestDataOptions()), bundle)
    assert result.kept["pkg/tests/data/table.csv"] == "the link pkg/table.csv points to it"


def test_a_module_that_cannot_be_parsed_keeps_what_it_may_name() -> None:
    result = with_core("print 'old'\nfrom .tests import support\nfrom pkg.tests.test_core import x")
    assert "pkg/tests/test_core.py" in result.kept
    assert [(finding.code, finding.path) for finding in result.findings] == [("MB301", "pkg/core.py")]
    assert not with_core("print 'latest'").findings


def test_old_escapes_warn_nobody() -> None:
    with_core("x = '\\d tests'\nfrom .tests import support")


def test_a_file_that_is_left_alone_keeps_what_it_imports() -> None:
    files = package({"pkg/tests/test_core.py": "from .support import x\n" + TEST})
    result = plan_of(TestData(TestDataOptions()), bundle_of(files), PlainContext(frozenset({"pkg/tests/test_core.py"})))
    assert result.kept["pkg/tests/support.py"] == "pkg/tests/test_core.py:1 imports pkg.tests.support"


@pytest.mark.parametrize("prefix", ["pkg-1.0.data/purelib/", "pkg-1.0.data/platlib/", "_internal/", "lib/python3.11/site-packages/"])
def test_packages_are_found_wherever_they_lie(prefix: str) -> None:
    files = package({"pkg/core.py": "import pkg.tests.support"})
    result = plan({prefix + path: data for path, data in files.items()})
    assert result.kept[f"{prefix}pkg/tests/support.py"].startswith(f"{prefix}pkg/core.py:1 imports pkg.tests.support")
    assert f"{prefix}pkg/tests/test_core.py" in result.dropped


def test_a_package_spread_over_both_schemes_is_one() -> None:
    result = plan(
        {
            "pkg/__init__.py": "",
            "pkg-1.0.data/platlib/pkg/core.py": "from .tests import support",
            "pkg/tests/support.py": "",
            "pkg/tests/test_a.py": TEST,
        }
    )
    assert sorted(result.kept) == ["pkg/tests/support.py"]


def test_one_package_may_use_the_tests_of_another() -> None:
    result = plan({**package(), "other/__init__.py": "from pkg.tests.support import x"})
    assert result.kept["pkg/tests/support.py"] == "other/__init__.py:1 imports pkg.tests.support"


def test_namespace_packages_are_followed() -> None:
    result = plan({"google/cloud/a/__init__.py": "import google.cloud.b.tests.support", "google/cloud/b/__init__.py": "",
                   "google/cloud/b/tests/support.py": "", "google/cloud/b/tests/test_b.py": TEST})  # fmt: skip
    assert sorted(result.kept) == ["google/cloud/b/tests/support.py"]


def test_where_the_modules_are_frozen_away_nothing_goes() -> None:
    result = plan({"_internal/skimage/tests/data/a.png": "x", "_internal/skimage/_core.so": ELF})
    assert "not in sight" in result.kept["_internal/skimage/tests/data/a.png"]


def test_own_names_for_tests() -> None:
    files = {"pkg/__init__.py": "from .specs import b", "pkg/specs/a_spec.py": "", "pkg/specs/b.py": "", "pkg/tests/test_a.py": TEST}
    result = plan(files, folders=("specs",), files=("*_spec.py",))
    assert (sorted(result.dropped), sorted(result.kept)) == (["pkg/specs/a_spec.py"], ["pkg/specs/b.py"])


NAMES = [
    "pkg/core.py",
    "pkg/tests/a.py",
    "pkg/tests/b.py",
    "pkg/tests/test_c.py",
    "pkg/tests/sub/d.py",
    "pkg/test_e.py",
    "other/tests/test_f.py",
]
MODULES = {name: name.removesuffix(".py").replace("/", ".") for name in NAMES}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12), st.randoms(use_true_random=False))
def test_laws(edges: list[tuple[str, str]], random: object) -> None:
    sources: dict[str, bytes | str] = dict.fromkeys(NAMES, TEST)
    for importer, imported in edges:
        sources[importer] = f"import {MODULES[imported]}\n{sources[importer]!s}"
    bundle = bundle_of({**sources, "pkg/__init__.py": "", "other/__init__.py": "", "pkg/tests/__init__.py": "", **INFO})
    result = plan_of(TestData(TestDataOptions()), bundle)
    stays = [name for name in NAMES if name not in result.dropped]
    assert not [(a, b) for a, b in edges if a in stays and b in result.dropped]
    assert not any("dist-info" in path for path in (*result.dropped, *result.kept))
    shuffled = list(bundle.values())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = plan_of(TestData(TestDataOptions()), Bundle(shuffled))
    assert list(again.dropped.items()) == list(result.dropped.items())
    assert again.kept == result.kept


def test_an_empty_bundle_and_a_disabled_word_are_fine() -> None:
    assert plan({}) == Plan({}, {}, [], [])
    optimizer = TestData(replace(TestDataOptions(), folders=(), files=(), compiled=()))
    assert not plan_of(optimizer, bundle_of(package())).dropped


@pytest.mark.parametrize(
    "source",
    [
        'DATA = os.path.join(os.path.dirname(__file__), "testdata")\nnames = os.listdir(DATA)',
        'HERE = Path(__file__).parent\nfiles = list((HERE / "testdata").iterdir())',
        'DATA = HERE / "testdata"',
        'DIR = "testdata"',
        'class Paths:\n    data = HERE / "testdata"',
    ],
)
def test_a_folder_of_data_that_a_module_names_stays(source: str) -> None:
    files = {"pkg/__init__.py": "", "pkg/load.py": source, "pkg/testdata/a.bin": "x", "pkg/testdata/deep/b.bin": "y"}
    assert not {"pkg/testdata/a.bin", "pkg/testdata/deep/b.bin"} & set(plan(files).dropped)


def test_a_folder_of_data_that_nobody_names_goes() -> None:
    files = {"pkg/__init__.py": "", "pkg/testdata/a.bin": "x", "pkg/tests/__init__.py": "", "pkg/tests/test_a.py": "def test_a(): pass"}
    assert "pkg/testdata/a.bin" in plan(files).dropped


def test_statistics_are_no_tests() -> None:
    files = {"pkg/__init__.py": "", "pkg/hypothesis_test.py": "def test_mean(sample):\n    return sum(sample)\n"}
    assert not plan(files).dropped


def test_a_test_with_fixtures_is_one() -> None:
    files = {"pkg/__init__.py": "", "pkg/test_it.py": "import pytest\n\n\ndef test_mean(sample):\n    assert sample\n"}
    assert "pkg/test_it.py" in plan(files).dropped


def test_what_the_script_of_a_frozen_application_imports_stays() -> None:
    def code(source: str) -> bytes:
        return marshal.dumps(compile(source, "x.py", "exec"))

    files = {
        "app.pyz/pkg/__init__.pyc": code(""),
        "app.pyz/pkg/core.pyc": code("import json"),
        "app.pyz/pkg/tests/__init__.pyc": code(""),
        "app.pyz/pkg/tests/test_core.pyc": code("def test_it(): pass"),
        "app.pyz/pkg/tests/test_other.pyc": code("def test_it(): pass"),
        "app.scripts/app.pyc": code("from pkg.tests import test_core"),
    }
    result = plan_of(TestData(TestDataOptions()), bundle_of(files))
    assert set(result.dropped) == {"app.pyz/pkg/tests/test_other.pyc"}
    files["app.scripts/app.pyc"] = code("import pkg")
    assert "app.pyz/pkg/tests/test_core.pyc" in plan_of(TestData(TestDataOptions()), bundle_of(files)).dropped
