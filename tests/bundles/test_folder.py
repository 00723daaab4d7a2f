from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.compressor import Compressed
from hatch_mlbundle.bundles.folder import FolderArtifact, check_target, tree_digest
from hatch_mlbundle.errors import ArtifactError, StorageError
from hatch_mlbundle.model import Bundle, File, Kind
from tests.builders import file_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and permission bits are Unix's")

LONG_AGO = 1_000_000_000


class Incompressible:
    """A Compressor that no folder may ask."""

    def compress(self, file: File) -> Compressed:
        raise AssertionError("a folder compresses nothing")


@dataclass
class Breaking:
    """A Content whose reading fails."""

    error: Exception

    def chunks(self) -> Iterator[bytes]:
        yield b"the beginning"
        raise self.error

    def local_path(self) -> Path | None:
        return None


@pytest.fixture(params=[1, 4])
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small tree with everything that a tree may hold."""
    root = tmp_path / "place" / "tree"
    files = {"pkg/a.py": b"aaaa", "pkg/lib/b.so": b"\x7fELF and more", "pkg/run": b"#!/bin/sh", "top.txt": b"top", "empty": b""}
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "pkg/run").chmod(0o755)
    (root / "pkg/a.py").chmod(0o600)
    (root / "pkg/lib/b.so.1").symlink_to("b.so")
    (root / "hollow/inner").mkdir(parents=True)
    (root / "hollow").chmod(0o700)
    (root / "pkg/lib").chmod(0o750)
    root.chmod(0o711)
    for path in files:
        os.utime(root / path, (LONG_AGO, LONG_AGO))
    return root


def scan(root: Path, pool: Executor) -> Bundle:
    return FolderArtifact(root, pool).scan().bundle


def write(root: Path, pool: Executor, target: Path, change: Callable[[Bundle], Bundle] = lambda bundle: bundle) -> Bundle:
    """Write the tree, changed, and return the bundle that the writer says is there."""
    artifact = FolderArtifact(root, pool)
    with artifact.rewriting(change(artifact.scan().bundle), target, Incompressible()) as written:
        pass
    return written.side.bundle


def shape(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of a tree: modes, links, bytes."""
    shapes: dict[str, tuple[object, ...]] = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None  # noqa: PTH115
        shapes[path.relative_to(root).as_posix()] = (oct(status.st_mode), what)
    return shapes


def seen(bundle: Bundle) -> dict[str, tuple[object, ...]]:
    return {path: (file.size, file.sha256, file.mode, file.kind, file.link, file.read()) for path, file in bundle.items()}


def test_a_scan_finds_every_file_in_sorted_order(tree: Path, pool: Executor) -> None:
    side = FolderArtifact(tree, pool).scan()
    bundle = side.bundle
    assert list(bundle) == ["empty", "pkg/a.py", "pkg/lib/b.so", "pkg/lib/b.so.1", "pkg/run", "top.txt"]
    assert {path: file.read() for path, file in bundle.items() if not file.link} == {
        path: (tree / path).read_bytes() for path in bundle if path != "pkg/lib/b.so.1"
    }
    assert [bundle["pkg/lib/b.so"].kind, bundle["pkg/a.py"].kind, bundle["pkg/run"].mode] == [Kind.ELF, Kind.PYTHON, 0o755]
    assert (side.account.compressed, side.account.structure, side.account.size) == (None, 0, bundle.size)


def test_links_are_links_and_never_followed(tree: Path, pool: Executor) -> None:
    (tree / "dangling").symlink_to("nowhere")
    (tree / "loop").symlink_to("loop")
    (tree / "to-folder").symlink_to("pkg")
    (tree / "to-itself").symlink_to(".")
    (tree / "outside").symlink_to("/etc")
    bundle = scan(tree, pool)
    links = {path: file.link for path, file in bundle.items() if file.kind is Kind.LINK}
    assert links == {
        "dangling": "nowhere",
        "loop": "loop",
        "to-folder": "pkg",
        "to-itself": ".",
        "outside": "/etc",
        "pkg/lib/b.so.1": "b.so",
    }
    assert not any(path.startswith(("to-", "outside/")) and "/" in path for path in bundle)
    assert all(bundle[path].size == 0 for path in links)


def test_what_is_no_file_is_refused(tree: Path, pool: Executor) -> None:
    os.mkfifo(tree / "pkg/pipe")
    with pytest.raises(ArtifactError, match="pkg/pipe: is neither file, folder nor link; take it out"):
        FolderArtifact(tree, pool)


def test_what_is_not_there_is_refused(tmp_path: Path, pool: Executor) -> None:
    with pytest.raises(ArtifactError, match="absent: cannot be read: No such file or directory"):
        FolderArtifact(tmp_path / "absent", pool)


def test_a_file_that_cannot_be_read_is_refused(tree: Path, pool: Executor) -> None:
    artifact = FolderArtifact(tree, pool)
    (tree / "top.txt").unlink()
    with pytest.raises(ArtifactError, match=r"top\.txt: cannot be read: No such file or directory"):
        artifact.scan()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_must_not_be_read_is_refused(tree: Path, pool: Executor) -> None:
    (tree / "top.txt").chmod(0)
    with pytest.raises(ArtifactError, match=r"top\.txt: cannot be read: Permission denied"):
        scan(tree, pool)


def test_names_need_not_be_ascii_nor_unicode(tree: Path, pool: Executor, tmp_path: Path) -> None:
    (tree / "gr\u00fc\u00dfe \u4f60.txt").write_bytes(b"1")
    with open(os.fsencode(tree) + b"/\xff\xfe.txt", "wb") as stream:  # noqa: PTH123 - a name that no str literal has
        stream.write(b"2")
    (tree / "new\nline").write_bytes(b"3")
    bundle = scan(tree, pool)
    assert bundle["gr\u00fc\u00dfe \u4f60.txt"].read() == b"1"
    assert bundle["\udcff\udcfe.txt"].read() == b"2"
    assert bundle["new\nline"].read() == b"3"
    write(tree, pool, tmp_path / "out")
    assert shape(tmp_path / "out") == shape(tree)


def test_owners_are_what_dist_info_says(tree: Path, pool: Executor) -> None:
    site = tree / "lib/site-packages"
    info = site / "My_Dist-1.0.dist-info"
    info.mkdir(parents=True)
    for path in (site / "mine.py", site / "other.py", tree / "script"):
        path.touch()
    (info / "RECORD").write_text('mine.py,,\n../../script,,\n"My_Dist-1.0.dist-info/RECORD",,\n\nabsent.py,,\n')
    owners = {path: file.owner for path, file in scan(tree, pool).items()}
    assert owners == {
        "empty": "empty",
        "lib/site-packages/My_Dist-1.0.dist-info/RECORD": "My_Dist",
        "lib/site-packages/mine.py": "My_Dist",
        "lib/site-packages/other.py": "lib",
        "pkg/a.py": "pkg",
        "pkg/lib/b.so": "pkg",
        "pkg/lib/b.so.1": "pkg",
        "pkg/run": "pkg",
        "script": "My_Dist",
        "top.txt": "top.txt",
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"x" * 200_000 + b",,\ntop.txt,,\n"),
    ],
)
def test_a_record_that_cannot_be_read_owns_nothing(tree: Path, pool: Executor, damage: Callable[[Path], object]) -> None:
    (tree / "x-1.dist-info").mkdir()
    damage(tree / "x-1.dist-info/RECORD")
    assert scan(tree, pool)["top.txt"].owner == "top.txt"


@pytest.mark.parametrize("new_place", [False, True])
def test_an_unchanged_tree_is_written_as_it_was(tree: Path, pool: Executor, tmp_path: Path, new_place: bool) -> None:
    before = shape(tree)
    target = tmp_path / "out" if new_place else tree
    write(tree, pool, target)
    assert shape(target) == shape(tree) == before
    times = [path.stat().st_mtime for path in target.rglob("*") if path.is_file()]
    assert times == [LONG_AGO] * 6


@pytest.mark.parametrize("new_place", [False, True])
def test_what_changed_is_written_and_the_rest_stays(tree: Path, pool: Executor, tmp_path: Path, new_place: bool) -> None:
    target = tmp_path / "out" if new_place else tree
    before = shape(tree)
    script = replace(file_of("new/script", b"#!"), mode=0o755)

    def change(bundle: Bundle) -> Bundle:
        rewritten = replace(file_of("pkg/run", b"#!"), mode=bundle["pkg/run"].mode)
        return bundle.without(["top.txt", "pkg/lib/b.so"]).replacing([rewritten, script, file_of("pkg/a-link", b"", link="a.py")])

    write(tree, pool, target, change)
    expected = {path: each for path, each in before.items() if path not in ("top.txt", "pkg/lib/b.so")}
    mode = shape(target)["new"][0]
    expected |= {
        "pkg/run": (before["pkg/run"][0], b"#!"),
        "new": (mode, None),
        "new/script": ("0o100755", b"#!"),
        "pkg/a-link": ("0o120777", "a.py"),
    }
    assert shape(target) == expected
    assert (target / "pkg/a.py").stat().st_mtime == LONG_AGO
    if new_place:
        assert shape(tree) == before


def test_modes_do_not_hang_on_the_umask(tree: Path, pool: Executor, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        write(tree, pool, tmp_path / "out", lambda bundle: bundle.replacing([replace(file_of("pkg/new", b""), mode=0o664)]))
    finally:
        os.umask(umask)
    written = shape(tmp_path / "out")
    assert written.pop("pkg/new") == ("0o100664", b"")
    assert written == shape(tree)


def test_a_folder_that_lost_all_its_files_goes_and_an_empty_one_stays(tree: Path, pool: Executor) -> None:
    write(tree, pool, tree, lambda bundle: bundle.without(["pkg/lib/b.so", "pkg/lib/b.so.1"]))
    assert not (tree / "pkg/lib").exists()
    assert (tree / "hollow/inner").is_dir()


def test_a_read_only_folder_is_written(tree: Path, pool: Executor, tmp_path: Path) -> None:
    (tree / "pkg/lib").chmod(0o555)
    (tree / "pkg").chmod(0o555)
    before = shape(tree)
    write(tree, pool, tmp_path / "out")
    assert shape(tmp_path / "out") == before
    for root in (tree, tmp_path / "out"):
        for folder in ("pkg", "pkg/lib"):
            (root / folder).chmod(0o755)


def test_a_hard_link_is_never_written_through(tree: Path, pool: Executor, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    os.link(tree / "top.txt", elsewhere)
    status = elsewhere.stat()
    rewritten = replace(file_of("top.txt", b"new"), mode=0o640)
    write(tree, pool, tree, lambda bundle: bundle.replacing([rewritten]))
    assert (tree / "top.txt").read_bytes() == b"new"
    assert elsewhere.read_bytes() == b"top"
    assert (elsewhere.stat().st_mode, elsewhere.stat().st_mtime) == (status.st_mode, status.st_mtime)


def test_unchanged_files_are_not_copied_in_place_and_not_shared_elsewhere(tree: Path, pool: Executor, tmp_path: Path) -> None:
    inode = (tree / "pkg/lib/b.so").stat().st_ino
    write(tree, pool, tmp_path / "out")
    assert (tmp_path / "out/pkg/lib/b.so").stat().st_ino != inode
    write(tree, pool, tree)
    assert (tree / "pkg/lib/b.so").stat().st_ino == inode


@pytest.mark.parametrize("new_place", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, StorageError])
def test_a_failure_in_the_body_leaves_all_as_it_was(
    tree: Path, pool: Executor, tmp_path: Path, new_place: bool, error: type[BaseException]
) -> None:
    before = shape(tree)
    target = tree.parent / "out" if new_place else tree
    artifact = FolderArtifact(tree, pool)
    smaller = artifact.scan().bundle.without(["top.txt"])

    def fail() -> None:
        with artifact.rewriting(smaller, target, Incompressible()):
            assert any("partial" in path.name for path in tree.parent.iterdir())
            raise error

    with pytest.raises(error):
        fail()
    assert shape(tree) == before
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "full"), StorageError), (ArtifactError("x", "damaged"), ArtifactError), (ValueError(), ValueError)],
)
def test_a_failure_while_writing_leaves_all_as_it_was(tree: Path, pool: Executor, error: Exception, raised: type[Exception]) -> None:
    before = shape(tree)
    artifact = FolderArtifact(tree, pool)
    broken = artifact.scan().bundle.replacing([replace(file_of("pkg/a.py", b"x"), content=Breaking(error))])
    with pytest.raises(raised), artifact.rewriting(broken, tree, Incompressible()):
        pytest.fail("the body is never reached")
    assert shape(tree) == before
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]


def other_folder(tree: Path) -> Path:
    (tree.parent / "other").mkdir()
    return tree.parent / "other"


def file(tree: Path) -> Path:
    (tree.parent / "file").touch()
    return tree.parent / "file"


@pytest.mark.parametrize("place", [lambda tree: tree.parent, lambda tree: tree / "pkg", other_folder, file])
def test_what_is_there_and_is_not_the_artifact_is_no_target(tree: Path, pool: Executor, place: Callable[[Path], Path]) -> None:
    target = place(tree)
    before = shape(tree.parent)
    with pytest.raises(ArtifactError, match="is there already; remove it or choose another name"):
        write(tree, pool, target)
    assert shape(tree.parent) == before


@pytest.mark.parametrize("inside", ["new", "pkg/new", "new/new"])
def test_a_place_in_the_artifact_is_no_target(tree: Path, pool: Executor, inside: str) -> None:
    before = shape(tree)
    with pytest.raises(ArtifactError, match=f"tree/{inside}: is inside .*tree, the folder to be read; choose a place outside of it"):
        write(tree, pool, tree / inside)
    assert shape(tree) == before


@pytest.mark.parametrize("inside", ["", "pkg/lib"])
def test_a_folder_that_holds_the_current_one_is_not_replaced(
    tree: Path, pool: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    monkeypatch.chdir(tree / inside)
    before = shape(tree)
    with pytest.raises(ArtifactError, match="tree: holds the current folder, which would be gone; run from outside of it, or use --output"):
        write(tree, pool, tree)
    write(tree, pool, tmp_path / "out")
    assert shape(tree) == shape(tmp_path / "out") == before


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="there is no mount point to ask about")
def test_a_mount_point_is_not_replaced() -> None:
    with pytest.raises(ArtifactError, match="is a mount point, which nothing can replace"):
        check_target(Path("/dev/shm"), Path("/dev/shm"))


def test_a_place_below_a_file_is_one_line(tree: Path, pool: Executor) -> None:
    with pytest.raises(StorageError, match="a file is in its place"):
        write(tree, pool, file(tree) / "new")


def test_a_link_to_the_tree_stays_a_link(tree: Path, pool: Executor, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tree)
    write(link, pool, link, lambda bundle: bundle.without(["top.txt"]))
    assert link.is_symlink()
    assert not (tree / "top.txt").exists()


def test_another_file_system_takes_the_tree(tree: Path, pool: Executor, tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=shm) as place:
        target = Path(place) / "out"
        assert seen(write(tree, pool, target)) == seen(scan(tree, pool))
        assert shape(target) == shape(tree)


def rewrite(path: Path) -> None:
    path.write_bytes(b"TOP")


def grow(path: Path) -> None:
    path.write_bytes(b"top and more")
    os.utime(path, (LONG_AGO, LONG_AGO))


def put_another(path: Path) -> None:
    path.unlink()
    path.symlink_to("empty")


@pytest.mark.parametrize("new_place", [False, True])
@pytest.mark.parametrize("change", [rewrite, grow, put_another, Path.unlink])
def test_a_file_that_changed_since_the_scan_is_told(
    tree: Path, pool: Executor, tmp_path: Path, new_place: bool, change: Callable[[Path], None]
) -> None:
    artifact = FolderArtifact(tree, pool)
    bundle = artifact.scan().bundle
    change(tree / "top.txt")
    before = shape(tmp_path)
    target = tmp_path / "out" if new_place else tree
    told = r"top\.txt: changed while mlbundle worked on it; run it again when nothing else writes there"
    with pytest.raises(ArtifactError, match=told), artifact.rewriting(bundle, target, Incompressible()):
        pytest.fail("the body is never reached")
    assert shape(tmp_path) == before


@pytest.mark.parametrize("path", ["new", "pkg/lib/new", "hollow/inner/new"])
def test_a_file_that_came_since_the_scan_is_not_lost(tree: Path, pool: Executor, path: str) -> None:
    artifact = FolderArtifact(tree, pool)
    bundle = artifact.scan().bundle
    (tree / path).touch()
    with pytest.raises(ArtifactError, match="tree: changed while"), artifact.rewriting(bundle, tree, Incompressible()):
        pytest.fail("the body is never reached")
    assert (tree / path).exists()


def test_a_mode_is_not_changed_through_a_hard_link(tree: Path, pool: Executor, tmp_path: Path) -> None:
    os.link(tree / "top.txt", tmp_path / "elsewhere")
    mode = (tree / "top.txt").stat().st_mode
    write(tree, pool, tree, lambda bundle: bundle.replacing([replace(bundle["top.txt"], mode=0o700)]))
    assert (tree / "top.txt").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "elsewhere").stat().st_mode == mode


def test_files_are_not_brought_to_the_disk_one_by_one(tree: Path, pool: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write(tree, pool, tmp_path / "out")
    assert synced == []


WRITE_TOO_MUCH = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hatch_mlbundle.bundles.folder import FolderArtifact
from hatch_mlbundle.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
artifact = FolderArtifact(Path(sys.argv[1]), ThreadPoolExecutor(1))
try:
    with artifact.rewriting(artifact.scan().bundle, Path(sys.argv[2]), None):
        pass
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_file(tree: Path, tmp_path: Path) -> None:
    (tree / "top.txt").write_bytes(bytes(150_000))
    out = tmp_path / "out"
    ran = subprocess.run([sys.executable, "-c", WRITE_TOO_MUCH, tree, out], capture_output=True, text=True, check=True)
    assert ran.stdout == f"file size limit reached while writing {out}; free some space, what was there before is untouched\n"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_the_writer_tells_what_a_scan_would_find(tree: Path, pool: Executor, tmp_path: Path) -> None:
    told = write(tree, pool, tmp_path / "out", lambda bundle: bundle.without(["empty"]).replacing([file_of("pkg/a.py", b"x")]))
    found = scan(tmp_path / "out", pool)
    assert {path: facts[:2] for path, facts in seen(told).items()} == {path: facts[:2] for path, facts in seen(found).items()}
    assert tree_digest(found) == tree_digest(scan(tmp_path / "out", pool))


def test_the_digest_of_what_was_written_is_that_of_a_scan(tree: Path, pool: Executor, tmp_path: Path) -> None:
    told = write(tree, pool, tmp_path / "out", lambda bundle: bundle.replacing([file_of("pkg/link", b"", link="a.py")]))
    assert tree_digest(told) == tree_digest(scan(tmp_path / "out", pool))


def test_a_digest_tells_trees_apart() -> None:
    files = [file_of("a", b"1"), file_of("b", b"2")]
    digests = {
        tree_digest(Bundle(each))
        for each in (
            files,
            files[:1],
            [file_of("a", b"2"), file_of("b", b"1")],
            [replace(files[0], mode=0o755), files[1]],
            [file_of("c", b"1"), files[1]],
            [file_of("a", b"", link="x"), files[1]],
            [file_of("a", b"", link="y"), files[1]],
            [file_of("c d", b"", link="x")],
            [file_of("d", b"", link="x c")],
        )
    }
    assert len(digests) == 9
    shared = [replace(file_of("a", b"", link="x"), mode=mode) for mode in (0o777, 0o755)]
    assert len({tree_digest(Bundle([link])) for link in shared}) == 1
    assert tree_digest(Bundle(files)) == tree_digest(Bundle(reversed(files)))


KILLED = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hatch_mlbundle.bundles.folder import FolderArtifact
tree = Path(sys.argv[1])
artifact = FolderArtifact(tree, ThreadPoolExecutor(1))
with artifact.rewriting(artifact.scan().bundle.without(["top.txt"]), tree, None):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_build_killed_before_the_end_loses_nothing(tree: Path) -> None:
    before = shape(tree)
    subprocess.run([sys.executable, "-c", KILLED, tree], check=False)
    assert shape(tree) == before


def test_what_a_killed_build_left_goes_with_the_next(tree: Path, pool: Executor) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tree], check=False)
    assert len(list(tree.parent.iterdir())) == 2
    write(tree, pool, tree)
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]


def test_a_folder_missing_between_two_renames_is_back_at_once(tree: Path, pool: Executor) -> None:
    before = shape(tree)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    former = tree.with_name(f".tree.{process.pid}.mlbundle-former")
    tree.rename(former)
    assert scan(tree, pool)["top.txt"].read() == b"top"
    assert shape(tree) == before
    assert not former.exists()


def test_a_folder_missing_between_two_renames_is_no_free_place(tree: Path, pool: Executor, tmp_path: Path) -> None:
    former = tmp_path / f".out.{os.getpid()}.mlbundle-former"
    former.mkdir()
    (former / "precious").touch()
    with pytest.raises(ArtifactError, match="out: is there already"):
        write(tree, pool, tmp_path / "out")
    assert (tmp_path / "out/precious").exists()
