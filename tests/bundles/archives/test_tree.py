from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.archives.tree import Member, MemberType, read_tree
from hatch_mlbundle.errors import ArtifactError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and permission bits are Unix's")


def seen(members: tuple[Member, ...]) -> list[tuple[str, MemberType, int, int, str]]:
    return [(each.name, each.type, each.size, each.mode, each.target) for each in members]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Make a folder to put in it what a test is about; beside it lies a file that no archive of it may hold."""
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "app/sub").mkdir(parents=True)
    (tmp_path / "app/sub/file").write_text("data")
    return tmp_path / "app"


def test_members_stand_in_an_order_in_which_they_can_be_unpacked(tree: Path) -> None:
    members = read_tree(tree)
    names = [each.name for each in members]
    assert names == sorted(set(names))
    place = {name: position for position, name in enumerate(names)}
    for member in members[1:]:
        assert place[member.name.rpartition("/")[0]] < place[member.name]
        if member.type is MemberType.HARD_LINK:
            assert place[member.target] < place[member.name]
    assert len(members) == 1 + len(list(tree.rglob("*")))


def test_the_first_of_several_names_holds_the_data(tree: Path) -> None:
    by_name = {each.name.partition("/")[2]: each for each in read_tree(tree)}
    assert by_name["a hard link"].type is MemberType.FILE
    others = [by_name["with space/another hard link"], by_name["ünï/漢字 📦.bin"]]
    assert {(each.type, each.target) for each in others} == {(MemberType.HARD_LINK, f"{tree.name}/a hard link")}


def test_a_hard_link_to_a_file_elsewhere_is_a_file(app: Path) -> None:
    os.link(app / "sub/file", app.parent / "elsewhere")
    assert [each.type for each in read_tree(app)] == [MemberType.FOLDER, MemberType.FOLDER, MemberType.FILE]


def test_neither_times_nor_modes_nor_the_order_of_creation_matter(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / tree.name
    other.mkdir(parents=True)
    os.utime(tree / "run", (1, 1))
    (tree / "empty").chmod(0o600)
    (tree / "run").chmod(0o700)
    (tree / "lib").chmod(0o700)
    for path in sorted(tree.rglob("*"), reverse=True):
        target = other / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(exist_ok=True)
        elif path.name != "another hard link":
            shutil.copy2(path, target, follow_symlinks=False)
    (other / "a hard link").unlink()
    os.link(other / "ünï/漢字 📦.bin", other / "a hard link")
    os.link(other / "a hard link", other / "with space/another hard link")
    (other / "run").chmod(0o755)
    (other / "lib").chmod(0o755)
    assert seen(read_tree(other)) == seen(read_tree(tree))


def test_one_file_is_a_tree_too(app: Path) -> None:
    assert seen(read_tree(app / "sub/file")) == [("file", MemberType.FILE, 4, 0o644, "")]


@pytest.mark.parametrize("target", ["file", "./file", "../sub/file", "absent", "self", ".", "..", "../sub/../sub"])
def test_links_that_stay_inside(app: Path, target: str) -> None:
    (app / "sub/self").symlink_to(target)
    (link,) = (each for each in read_tree(app) if each.name == "app/sub/self")
    assert (link.type, link.target) == (MemberType.SYMBOLIC_LINK, target)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../outside", "../..", "../../app/sub/file", "../sub/../../app", "absent/../../../outside"]
)
def test_links_that_leave(app: Path, target: str) -> None:
    (app / "sub/link").symlink_to(target)
    with pytest.raises(
        ArtifactError, match=r"app/sub/link: is a link out of the folder, to .*; make it relative, or put a file in its place"
    ):
        read_tree(app)


def test_a_link_that_leaves_through_another(app: Path) -> None:
    (app / "a/b/c").mkdir(parents=True)
    (app / "a/b/c/top").symlink_to("../../..")
    read_tree(app)
    (app / "a/b/c/link").symlink_to("top/../outside")
    with pytest.raises(ArtifactError, match="a/b/c/link: is a link out of the folder"):
        read_tree(app)


def test_a_link_whose_text_leaves_but_whose_way_does_not(app: Path) -> None:
    (app / "a/b/c").mkdir(parents=True)
    (app / "deep").symlink_to("a/b/c")
    (app / "link").symlink_to("deep/../../x")
    assert len(read_tree(app)) == 8


def test_pipes_and_sockets_are_refused(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(app / "sub/pipe")
    with pytest.raises(ArtifactError, match="sub/pipe: is neither file, folder nor link; take it out"):
        read_tree(app)
    (app / "sub/pipe").unlink()
    monkeypatch.chdir(app)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ArtifactError, match="socket: is neither file, folder nor link"):
            read_tree(app)


def test_names_that_are_not_utf8_are_refused(app: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(app) + b"/caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(ArtifactError, match=r"caf\\udce9': has a name or target that is not UTF-8") as caught:
        read_tree(app)
    str(caught.value).encode()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="absent: cannot be read: No such file"):
        read_tree(tmp_path / "absent")


def test_the_root_has_no_name() -> None:
    with pytest.raises(ArtifactError, match="/: has no name to unpack under"):
        read_tree(Path("/"))


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed(app: Path) -> None:
    (app / "sub").chmod(0)
    with pytest.raises(ArtifactError, match="sub: cannot be read: Permission denied"):
        read_tree(app)
    (app / "sub").chmod(0o755)


@pytest.mark.parametrize("after", [b"longer than before", b"no", b"DATA"])
def test_a_file_that_changes_is_noticed(app: Path, after: bytes) -> None:
    os.utime(app / "sub/file", (1, 1))
    member = read_tree(app)[-1]
    assert b"".join(member.chunks()) == b"data"
    (app / "sub/file").write_bytes(after)
    with pytest.raises(ArtifactError, match="sub/file: changed while it was being packed; pack again"):
        list(member.chunks())


def test_a_file_that_becomes_a_link_or_goes_is_not_read(app: Path) -> None:
    member = read_tree(app)[-1]
    (app / "sub/file").unlink()
    with pytest.raises(ArtifactError, match="sub/file: cannot be read: No such file"):
        list(member.chunks())
    (app / "sub/file").symlink_to("../../outside")
    with pytest.raises(ArtifactError, match="sub/file: cannot be read"):
        list(member.chunks())
