"""Layers with members left out or replaced: what is left is what a model of a layer says, whatever members there are and in what order."""

from __future__ import annotations

import io
import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.edits import LayerEdit
from tests.bundles.imagewriting import contents, edit_of, layers, members, new_file, write
from tests.imagesmith import oci_layout

LONG = "long/" + "n" * 150
NAMES = ["a", "b", "c", "d/e", "d/f", "d/g/h", LONG, "caf\u00e9", "raw\udcff"]


@dataclass(frozen=True, eq=False)
class Inode:
    """A file, or a symbolic link, whatever names it has."""

    data: bytes = b""
    mode: int = 0o644
    link: str | None = None


@dataclass
class Model:
    """A layer as tar extracts it: which name leads to which inode; `members` are those of the tar file."""

    names: dict[str, Inode] = field(default_factory=dict)
    members: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def put(self, name: str, inode: Inode) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(inode.data), inode.mode
        if inode.link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, inode.link
        self.names[name] = inode
        self.members.append((info, inode.data))

    def join(self, name: str, other: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.LNKTYPE, other
        self.names[name] = self.names[other]
        self.members.append((info, b""))

    def edited(self, edit: LayerEdit) -> Model:
        """Return the model of what is to be left, each name once."""
        copies: dict[tuple[Inode, str, int], Inode] = {}
        left: dict[str, Inode] = {}
        for name, inode in self.names.items():
            new = edit.replace.get(name)
            if new and new.link is not None:
                left[name] = Inode(link=new.link, mode=0o777)
            elif new:
                left[name] = copies.setdefault((inode, new.sha256, new.mode), Inode(new.read(), new.mode))
            elif name not in edit.drop:
                left[name] = inode
        first: dict[Inode, str] = {}
        model = Model()
        for name in sorted(left):
            original = first.setdefault(left[name], name)
            if original == name:
                model.put(name, left[name])
            else:
                model.join(name, original)
        return model

    def tar(self, form: int) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
            for info, data in self.members:
                tar.addfile(info, io.BytesIO(data))
        return sink.getvalue()


def random_model(chance: random.Random) -> Model:
    model = Model()
    for _ in range(chance.randint(1, 14)):
        name, others = chance.choice(NAMES), sorted(model.names)
        kind = chance.choice(["file", "file", "join", "join", "link", "whiteout"])
        if kind == "join" and others and (other := chance.choice(others)) != name:
            model.join(name, other)
        elif kind == "link":
            model.put(name, Inode(link=chance.choice(["x", "y" * 130]), mode=0o777))
        elif kind == "whiteout":
            model.members.append((tarfile.TarInfo(f"d/.wh.{chance.choice('xyz')}"), b""))
        else:
            model.put(name, Inode(chance.randbytes(chance.choice([0, 1, 511, 512, 513, 3000])), chance.choice([0o644, 0o755, 0o4711])))
    return model


def random_edit(chance: random.Random, names: list[str]) -> LayerEdit:
    drop = frozenset(name for name in names if chance.random() < 0.35)
    same = chance.randbytes(700)
    replace = {}
    for name in names:
        if name not in drop and chance.random() < 0.35:
            data, link = chance.choice([(same, None), (same, None), (chance.randbytes(600), None), (b"", "else" * chance.choice([1, 40]))])
            replace[name] = new_file(name, data, mode=chance.choice([0o644, 0o755]), link=link)
    return LayerEdit(drop=drop, replace=replace)


@pytest.mark.parametrize("part", range(3))
def test_what_is_left_is_what_a_model_says(tmp_path: Path, part: int) -> None:
    chance = random.Random(part)
    for number in range(40):
        form = chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
        model = random_model(chance)
        edit = random_edit(chance, sorted(model.names))
        wanted = model.edited(edit)
        below = oci_layout(tmp_path / f"{number}", [tarfile_of("base"), model.tar(form)], "")
        made = write(below, tmp_path / f"{number}-made", edit_of(None, edit), compression="none")
        expected = oci_layout(tmp_path / f"{number}-wanted", [tarfile_of("base"), wanted.tar(tarfile.PAX_FORMAT)], "")
        assert contents(made) == contents(expected), (number, model, edit)
        wanted_whiteouts = {info.name for info, _ in model.members if ".wh." in info.name}
        assert {name for each in layers(made) for name in members(each) if ".wh." in name} == wanted_whiteouts


def tarfile_of(name: str) -> bytes:
    model = Model()
    model.put(name, Inode(b"below"))
    return model.tar(tarfile.PAX_FORMAT)
