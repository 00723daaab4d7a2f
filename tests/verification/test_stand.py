from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.model import Bundle, DiskContent, File, Kind
from hatch_mlbundle.verification.stand import Stand, Store
from tests.builders import bundle_of, file_of


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    for name in ("stand", "store"):
        (tmp_path / name).mkdir()
    with ThreadPoolExecutor(2) as pool:
        yield Stand(tmp_path / "stand", Store(folder=tmp_path / "store"), pool)


def there(stand: Stand) -> dict[str, str]:
    found = {}
    for place, folders, names in os.walk(stand.root):
        for name in (*names, *(each for each in folders if not any((Path(place) / each).iterdir()))):
            path = Path(place) / name
            found[path.relative_to(stand.root).as_posix()] = "folder" if path.is_dir() else path.read_text()
    return found


def link(path: str, target: str) -> File:
    return replace(file_of(path, b""), kind=Kind.LINK, link=target)


BUNDLE = bundle_of({"pkg/__init__.py": "", "pkg/a.py": "a", "pkg/sub/b.py": "b", "pkg/sub/c.py": "b"})


def test_it_becomes_one_bundle_after_another(stand: Stand) -> None:
    stand.become(BUNDLE)
    assert there(stand) == {"pkg/__init__.py": "", "pkg/a.py": "a", "pkg/sub/b.py": "b", "pkg/sub/c.py": "b"}
    stand.become(BUNDLE.without(["pkg/sub/b.py", "pkg/sub/c.py"]).replacing([file_of("pkg/a.py", b"A"), link("pkg/l", "a.py")]))
    assert there(stand) == {"pkg/__init__.py": "", "pkg/a.py": "A", "pkg/l": "A"}
    stand.become(BUNDLE)
    assert len(there(stand)) == 4
    assert stand.mend() == []


def test_what_stays_is_not_laid_anew(stand: Stand) -> None:
    stand.become(BUNDLE)
    before = (stand.root / "pkg/a.py").stat()
    stand.become(BUNDLE.without(["pkg/sub/b.py"]))
    assert (stand.root / "pkg/a.py").stat() == before


def test_modes_are_those_of_the_bundle(stand: Stand) -> None:
    stand.become(Bundle([replace(file_of("run", b"x"), mode=0o755), replace(file_of("data", b"x"), mode=0o644)]))
    assert [(stand.root / name).stat().st_mode & 0o777 for name in ("run", "data")] == [0o755, 0o644]


def test_whatever_a_command_does_is_undone_and_told(stand: Stand, tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_text("mine")
    bundle = BUNDLE.replacing([replace(file_of("mine", b"mine"), content=DiskContent(original)), link("l", "mine")])
    stand.become(bundle)
    with (stand.root / "mine").open("a") as stream:
        stream.write("!")
    (stand.root / "pkg/a.py").unlink()
    (stand.root / "pkg/sub/b.py").chmod(0o600)
    (stand.root / "l").unlink()
    (stand.root / "l").symlink_to("pkg/a.py")
    (stand.root / "new/deep").mkdir(parents=True)
    (stand.root / "pkg/log.txt").write_text("log")
    (stand.root / "pkg/__pycache__").mkdir()
    (stand.root / "pkg/__pycache__/a.cpython-311.pyc").write_text("")
    assert stand.mend() == ["l", "mine", "new", "pkg/a.py", "pkg/log.txt", "pkg/sub/b.py", "pkg/sub/c.py"]
    assert there(stand) == {path: file.read().decode() if file.link is None else "mine" for path, file in bundle.items()}
    assert original.read_text() == "mine"
    assert stand.mend() == []


def test_a_folder_in_the_place_of_a_file_is_cleared_away(stand: Stand) -> None:
    stand.become(BUNDLE)
    (stand.root / "pkg/a.py").unlink()
    (stand.root / "pkg/a.py").mkdir()
    (stand.root / "pkg/a.py/x").write_text("")
    assert stand.mend() == ["pkg/a.py"]
    assert (stand.root / "pkg/a.py").read_text() == "a"


def test_files_that_python_compares_by_their_time_have_it(stand: Stand) -> None:
    early, late = (
        replace(file_of(f"{name}.py", b"same"), modified=seconds) for name, seconds in (("a", 1_600_000_000), ("b", 1_700_000_000))
    )
    stand.become(Bundle([early, late]))
    assert [(stand.root / name).stat().st_mtime for name in ("a.py", "b.py")] == [1_600_000_000, 1_700_000_000]
