from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.folder_scan import find_owners, list_tree, scan_files, walk
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Kind


def many(root: Path) -> dict[str, bytes]:
    """Write files from nothing to more than a thread is given at a time, in folders that sort otherwise than they are listed."""
    data = {f"{'abc'[number % 3]}/{number}": os.urandom(number * 7 % 900) for number in range(700)}
    data |= {"a/large": os.urandom(5 << 20), "a.py": b"", "c/elf": b"\x7fELF" + bytes(300_000)}
    for path, content in data.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(content)
    return data


@pytest.mark.parametrize("workers", [1, 5])
def test_files_come_in_order_with_their_hashes_whoever_read_them(tmp_path: Path, workers: int) -> None:
    data = many(tmp_path)
    paths = list_tree(tmp_path).files
    with ThreadPoolExecutor(workers) as pool:
        files = [file for file, _ in scan_files(tmp_path, paths, {}, pool)]
    assert [file.path for file in files] == sorted(data)
    for file in files:
        assert (file.size, file.sha256) == (len(data[file.path]), hashlib.sha256(data[file.path]).hexdigest())
        assert file.read() == data[file.path]
    assert {file.path: file.kind for file in files}["c/elf"] is Kind.ELF


def test_a_file_that_goes_away_is_told(tmp_path: Path) -> None:
    many(tmp_path)
    paths = list_tree(tmp_path).files
    (tmp_path / "b" / "1").unlink()
    with ThreadPoolExecutor(2) as pool, pytest.raises(ArtifactError, match=r"b/1: cannot be read: No such file"):
        list(scan_files(tmp_path, paths, {}, pool))


def test_no_files_are_no_work(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert list(scan_files(tmp_path, (), {}, pool)) == []


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "round").symlink_to(".")
    assert sorted(path for path, _ in walk(tmp_path)) == ["folder", "round"]
    assert (list_tree(tmp_path).files, set(list_tree(tmp_path).folders)) == (("round",), {"folder"})


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing: cannot be read: No such file"):
        list_tree(tmp_path / "missing")


def test_owners_are_found_however_record_writes_a_path(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "demo_app-1.0.dist-info" / "RECORD"
    place.parent.mkdir(parents=True)
    place.write_text('demo/a.py,,\n./demo/b.py,,\n../bin/run,,\ndemo//c.py,,\ndemo/x/../d.py,,\n"demo/e,f.py",,\ndemo/a..py,,\n')
    owners = find_owners(tmp_path, ["lib/demo_app-1.0.dist-info/RECORD"])
    listed = ["bin/run", "lib/demo/a..py", "lib/demo/a.py", "lib/demo/b.py", "lib/demo/c.py", "lib/demo/d.py", "lib/demo/e,f.py"]
    assert (sorted(owners), set(owners.values())) == (listed, {"demo_app"})
