from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from hatch_mlbundle.applied import Applied
from hatch_mlbundle.importpaths import ImportPaths
from hatch_mlbundle.model import Kind
from hatch_mlbundle.verification.replay import Site
from hatch_mlbundle.verification.suspicion import Clues, by_folder, weigh
from tests.builders import file_of

PATHS = [
    "_internal/app.pyz/pkg/__init__.pyc",
    "_internal/app.pyz/pkg/late.pyc",
    "_internal/pkg/data/words.txt",
    "_internal/app.pyz/_sysconfigdata__linux-gnu.pyc",
    "_internal/libbeta.so.1",
    "_internal/Zoo_Keeper-1.0.dist-info/METADATA",
    *(f"_internal/unused/{number}.txt" for number in range(100)),
]
SITES = [Site(0, path) for path in PATHS]
MODULES = ImportPaths(PATHS)


def dropped(step: int, *paths: str, kind: Kind = Kind.OTHER) -> dict[Site, Applied]:
    files = [replace(file_of(path, b"x"), kind=kind) for path in paths]
    return {Site(step, file.path): Applied(action="drop", path=file.path, reason="", before=file, after=None) for file in files}


def weighed(
    *named: str, used: Collection[str] = (), changes: Mapping[Site, Applied] | None = None, crashed: bool = False
) -> dict[Site, float]:
    return weigh(changes or dropped(0, *PATHS), Clues(used=used, named=named, crashed=crashed), MODULES)


def ranked(*named: str, used: Collection[str] = ()) -> list[str]:
    weights = weighed(*named, used=used)
    assert all(weight > 0 for weight in weights.values())
    return [site.path for site in sorted(weights, key=lambda site: -weights[site])]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pkg.late", "_internal/app.pyz/pkg/late.pyc"),
        ("/somewhere/_internal/pkg/data/words.txt", "_internal/pkg/data/words.txt"),
        ("data/words.txt", "_internal/pkg/data/words.txt"),
        ("words.txt", "_internal/pkg/data/words.txt"),
        ("_sysconfigdata__linux-gnu", "_internal/app.pyz/_sysconfigdata__linux-gnu.pyc"),
        ("libbeta.so.1", "_internal/libbeta.so.1"),
        ("zoo-keeper", "_internal/Zoo_Keeper-1.0.dist-info/METADATA"),
        ("zoo_keeper.dist-info", "_internal/Zoo_Keeper-1.0.dist-info/METADATA"),
    ],
)
def test_what_an_error_names_comes_first(name: str, path: str) -> None:
    assert ranked(name)[0] == path


def test_what_is_named_first_outweighs_all_the_rest() -> None:
    weights = weighed("pkg.late", "words.txt")
    assert weights[SITES[1]] >= sum(weight for site, weight in weights.items() if site not in SITES[1:3])


def test_used_files_come_before_others() -> None:
    used = frozenset(PATHS[2:4])
    assert set(ranked(used=used)[:2]) == used
    assert ranked("pkg.late", used=used)[0] == PATHS[1]


def test_a_name_that_nothing_bears_changes_nothing() -> None:
    assert weighed("nothing") == weighed()


def test_one_change_of_a_sort_is_more_suspicious_than_one_of_many() -> None:
    changes = {**dropped(0, *(f"{number}.py" for number in range(1000))), **dropped(1, "single.py")}
    weights = weighed(used={site.path for site in changes}, changes=changes)
    assert sum(weights.values()) == pytest.approx(8)
    assert weights[Site(1, "single.py")] == pytest.approx(1000 * weights[Site(0, "7.py")])


def test_of_a_crash_native_code_is_guilty_first() -> None:
    changes = {**dropped(0, *(f"{number}.py" for number in range(100))), **dropped(0, "lib.so", kind=Kind.ELF)}
    used = {site.path for site in changes}
    native = Site(0, "lib.so")
    assert weighed(used=used, changes=changes)[native] < 5
    assert weighed(used=used, changes=changes, crashed=True)[native] > 7


def test_a_frame_says_less_than_a_name() -> None:
    changes = dropped(0, *PATHS)
    weights = weigh(changes, Clues(used=(), named=["words.txt"], frames=["pkg/late.pyc"]), MODULES)
    assert sorted(weights, key=lambda site: -weights[site])[:2] == [SITES[2], SITES[1]]
    assert weights[SITES[1]] < weights[SITES[2]] / 5


def test_modules_and_data_of_a_package_belong_together() -> None:
    assert by_folder(SITES[0]) == by_folder(SITES[1]) != by_folder(SITES[2])
