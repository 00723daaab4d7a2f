from __future__ import annotations

import pytest

from hatch_mlbundle.importpaths import ImportPaths
from hatch_mlbundle.verification.replay import Site
from hatch_mlbundle.verification.suspicion import by_folder, weigh

PATHS = [
    "_internal/app.pyz/pkg/__init__.pyc",
    "_internal/app.pyz/pkg/late.pyc",
    "_internal/pkg/data/words.txt",
    "_internal/libbeta.so.1",
    "_internal/Zoo_Keeper-1.0.dist-info/METADATA",
    *(f"_internal/unused/{number}.txt" for number in range(100)),
]
SITES = [Site(0, path) for path in PATHS]
MODULES = ImportPaths(PATHS)


def ranked(*named: str, used: frozenset[str] = frozenset()) -> list[str]:
    weights = weigh(SITES, used, named, MODULES)
    assert all(weight > 0 for weight in weights.values())
    return [site.path for site in sorted(weights, key=lambda site: -weights[site])]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pkg.late", "_internal/app.pyz/pkg/late.pyc"),
        ("/somewhere/_internal/pkg/data/words.txt", "_internal/pkg/data/words.txt"),
        ("data/words.txt", "_internal/pkg/data/words.txt"),
        ("words.txt", "_internal/pkg/data/words.txt"),
        ("libbeta.so.1", "_internal/libbeta.so.1"),
        ("zoo-keeper", "_internal/Zoo_Keeper-1.0.dist-info/METADATA"),
        ("zoo_keeper.dist-info", "_internal/Zoo_Keeper-1.0.dist-info/METADATA"),
    ],
)
def test_what_an_error_names_comes_first(name: str, path: str) -> None:
    assert ranked(name)[0] == path


def test_what_is_named_first_outweighs_all_the_rest() -> None:
    weights = weigh(SITES, frozenset(), ["pkg.late", "words.txt"], MODULES)
    assert weights[SITES[1]] >= sum(weight for site, weight in weights.items() if site not in SITES[1:3])


def test_used_files_come_before_others() -> None:
    used = frozenset(PATHS[2:4])
    assert set(ranked(used=used)[:2]) == used
    assert ranked("pkg.late", used=used)[0] == PATHS[1]


def test_a_name_that_nothing_bears_changes_nothing() -> None:
    assert weigh(SITES, frozenset(), ["nothing"], MODULES) == weigh(SITES, frozenset(), [], MODULES)


def test_modules_and_data_of_a_package_belong_together() -> None:
    assert by_folder(SITES[0]) == by_folder(SITES[1]) != by_folder(SITES[2])
