from __future__ import annotations

import pytest

from hatch_mlbundle.frozenmodules import FrozenModules
from hatch_mlbundle.keeprules import RULES, catalogue_folder, is_standard, place_of, rule_for
from tests.builders import file_of

FROZEN = "_internal/app.pyz/app.pyc"


def rule_of(path: str, *, frozen: bool = True) -> str | None:
    """Return the name of the rule by which a file stays in a frozen bundle, or in a wheel."""
    modules = FrozenModules([path, FROZEN] if frozen else [path])
    rule = rule_for(place_of(file_of(path, b"data"), modules))
    return next((name for name, each in RULES.items() if each is rule), None)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("_internal/base_library.zip", "interpreter"),
        ("_internal/libpython3.11.so.1.0", "interpreter"),
        ("_internal/python311.dll", "interpreter"),
        ("app.scripts/app.pyc", "interpreter"),
        ("_internal/certifi/cacert.pem", "certificates"),
        ("_internal/ssl/ca.CRT", "certificates"),
        ("_internal/tzdata/zoneinfo/Europe/Oslo", "time-zones"),
        ("_internal/app.pyz/tzdata/zoneinfo/Europe/__init__.pyc", "time-zones"),
        ("_internal/pytz/zoneinfo/UTC", "time-zones"),
        ("_internal/dateutil/zoneinfo/dateutil-zoneinfo.tar.gz", "time-zones"),
        ("_internal/pkg/LICENSE.txt", "licences"),
        ("_internal/pkg-1.dist-info/AUTHORS.md", "licences"),
        ("_internal/pkg-1.dist-info/licenses/third_party.txt", "licences"),
        ("_internal/pkg/NOTICE", "licences"),
        ("_internal/pkg-1.dist-info/METADATA", "metadata"),
        ("_internal/pkg-1.dist-info/entry_points.txt", "metadata"),
        ("_internal/pkg-1.egg-info/PKG-INFO", "metadata"),
        ("_internal/pkg-1.egg-info/top_level.txt", "metadata"),
        ("_internal/pkg/py.typed", "markers"),
        ("_internal/libstdc++.so.6", "toolchain"),
        ("_internal/libgcc_s.so.1", "toolchain"),
        ("_internal/libcrypto.so.3", "toolchain"),
        ("_internal/libssl-1_1.dll", "toolchain"),
        ("_internal/mkl/libmkl_avx2.so.2", "processors"),
        ("_internal/ggml-cpu-haswell.dll", "processors"),
        ("_internal/app.pyz/encodings/cp1252.pyc", "errors"),
        ("_internal/app.pyz/traceback.pyc", "errors"),
        ("_internal/python3.11/lib-dynload/_multibytecodec.cpython-311-x86_64-linux-gnu.so", "errors"),
    ],
)
def test_what_stays_whatever_the_runs_used(path: str, rule: str) -> None:
    assert rule_of(path) == rule


@pytest.mark.parametrize(
    "path",
    [
        "_internal/pkg/data.bin",
        "_internal/app.pyz/pkg/mod.pyc",
        "_internal/app.pyz/pkg/traceback.pyc",
        "_internal/pkg-1.dist-info/RECORD",
        "_internal/pkg-1.dist-info/INSTALLER",
        "_internal/pkg/noavx.txt",
        "_internal/pkg/avx.so",
        "_internal/libfoo.so.1",
        "_internal/pkg/licensing.bin",
    ],
)
def test_what_the_rules_leave_to_the_runs(path: str) -> None:
    assert rule_of(path) is None


@pytest.mark.parametrize("name", ["RECORD", "WHEEL", "INSTALLER", "METADATA"])
def test_installers_need_all_metadata_of_a_wheel(name: str) -> None:
    assert rule_of(f"pkg-1.dist-info/{name}", frozen=False) == "metadata"


def test_each_rule_has_a_case_and_says_why() -> None:
    (mark,) = test_what_stays_whatever_the_runs_used.pytestmark
    assert {rule for _, rule in mark.args[1]} == set(RULES)
    assert all(len(rule.why.split()) > 3 for rule in RULES.values())


@pytest.mark.parametrize(
    ("path", "standard"),
    [
        ("_internal/app.pyz/sqlite3/__init__.pyc", True),
        ("_internal/app.pyz/distutils/core.pyc", True),
        ("_internal/app.pyz/_sysconfigdata__x86_64-linux-gnu.pyc", True),
        ("_internal/lib-dynload/_bz2.cpython-311-x86_64-linux-gnu.so", True),
        ("_internal/app.pyz/pkg/sqlite3.pyc", False),
        ("_internal/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so", False),
        ("_internal/lib-dynload/readline.cpython-311-x86_64-linux-gnu.so", False),
        ("_internal/data.txt", False),
    ],
)
def test_the_standard_library_is_told_by_its_names(path: str, standard: bool) -> None:
    assert is_standard(place_of(file_of(path, b""), FrozenModules([path, FROZEN]))) is standard


def test_a_wheel_has_no_standard_library() -> None:
    assert not is_standard(place_of(file_of("sqlite3/__init__.py", b""), FrozenModules(["sqlite3/__init__.py"])))


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("_internal/pkg/i18n_data/de/LC_MESSAGES/pkg.mo", "_internal/pkg/i18n_data"),
        ("_internal/pkg/locale/de.json", "_internal/pkg/locale"),
        ("_internal/PySide6/translations/qt_de.qm", "_internal/PySide6/translations"),
        ("_internal/app.pyz/pkg/locale/de.pyc", None),
        ("_internal/pkg/data/de.json", None),
    ],
)
def test_translations_belong_to_the_folder_of_all_languages(path: str, folder: str | None) -> None:
    assert catalogue_folder(path) == folder
