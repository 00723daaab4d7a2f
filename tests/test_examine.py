from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.cache import Cache
from hatch_mlbundle.examine import examine
from hatch_mlbundle.model import File
from hatch_mlbundle.optimizer import Json
from tests.builders import bundle_of, file_of

FILES = list(bundle_of({"z.py": "z", "a.py": "aa", "m/\u00fc.py": "mmm"}).values())


class Counting:
    """An examiner that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, file: File) -> Json:
        self.asked.append(file.path)
        return {"zeta": file.size, "alpha": [file.path, None, True, 1.5], "tuple": (1, 2), "nested": {"b": {}, "a": []}}


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path, 10**9)


def test_every_file_has_its_facts(pool: Executor) -> None:
    facts = examine("x", FILES, lambda file: file.size, pool, None)
    assert facts == {"z.py": 1, "a.py": 2, "m/\u00fc.py": 3}


def test_warm_is_cold_to_the_order_and_the_types(pool: Executor, cache: Cache) -> None:
    examiner = Counting()
    without = examine("x", FILES, examiner, pool, None)
    cold = examine("x", FILES, examiner, pool, cache)
    assert len(examiner.asked) == 6
    warm = examine("x", FILES, examiner, pool, cache)
    assert len(examiner.asked) == 6
    assert repr(without) == repr(cold) == repr(warm)
    assert cold["a.py"]["tuple"] == [1, 2]


@pytest.mark.parametrize(
    ("identity", "files"),
    [
        ("other", FILES),
        ("x", FILES[:2]),
        ("x", [*FILES[:2], file_of("m/\u00fc.py", b"changed")]),
        ("x", [*FILES[:2], file_of("m/renamed.py", b"mmm")]),
    ],
)
def test_whatever_decides_the_facts_is_in_the_key(pool: Executor, cache: Cache, identity: str, files: list[File]) -> None:
    examine("x", FILES, Counting(), pool, cache)
    examiner = Counting()
    examine(identity, files, examiner, pool, cache)
    assert sorted(examiner.asked) == sorted(file.path for file in files)


def test_nothing_to_examine_is_not_kept(pool: Executor, cache: Cache) -> None:
    assert examine("x", [], Counting(), pool, cache) == {}
    assert cache.usage().entries == 0


def test_a_fault_of_the_examiner_is_told_and_not_kept(pool: Executor, cache: Cache) -> None:
    def fail(file: File) -> Json:
        raise KeyError(file.path)

    with pytest.raises(KeyError):
        examine("x", FILES, fail, pool, cache)
    assert cache.usage().entries == 0


def test_names_that_are_not_unicode(pool: Executor, cache: Cache) -> None:
    files = [file_of("\udcff.py", b"x")]
    for _ in range(2):
        assert examine("x", files, lambda file: file.path, pool, cache) == {"\udcff.py": "\udcff.py"}
