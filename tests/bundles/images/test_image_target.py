"""Where images are written: what a killed process leaves goes, what is there already stays, and names say which form is meant."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.image_target import writing_image
from hatch_mlbundle.bundles.images.replacing import is_archive, replacing_image
from hatch_mlbundle.cli import main
from tests.bundles.imagewriting import contents, dropping, edit_of, write
from tests.imagesmith import layer, oci_layout

PACKAGES = "opt/app/lib/python3.11/site-packages"
KILLED = """
import os, sys
from pathlib import Path
from hatch_mlbundle.bundles.images.image_target import writing_image
from hatch_mlbundle.bundles.images.replacing import replacing_image
with replacing_image(Path(sys.argv[1])) as place, writing_image(place, Path(sys.argv[2]), 1):
    os._exit(9)
"""


@pytest.mark.parametrize("name", ["app", "app.tar"])
def test_what_a_killed_process_leaves_goes_with_the_next(tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    source = oci_layout(tmp_path / "image", [layer(("a", b"1"), ("b", b"2"))])
    assert subprocess.run([sys.executable, "-c", KILLED, place / name, tmp_path / "scratch"], check=False).returncode == 9
    assert [path.name for path in place.iterdir()] != []
    with replacing_image(place / name) as free:
        write(source, free, edit_of(dropping("a")))
    assert [path.name for path in place.iterdir()] == [name]
    assert set(contents(place / name)) == {"b"}


@pytest.mark.parametrize("name", ["app", "app.tar"])
def test_a_full_disk_is_told_of_the_name_that_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    noise = [(f"opt/{number}", os.urandom(300_000)) for number in range(8)]
    source = oci_layout(tmp_path / "image", [layer((f"{PACKAGES}/a/__init__.py", b""), (f"{PACKAGES}/a/tests/test_a.py", b"1"), *noise)])
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs to mount a file system")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file system")
    try:
        assert main(["optimize", str(source), "-o", str(disk / name)]) == 2
        assert f"disk full while writing {disk / name};" in capsys.readouterr().err
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("name", ["app", "app.tar"])
def test_what_is_there_already_stays(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(FileExistsError), writing_image(target, tmp_path / "scratch", 1):
        pass
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_capital_letters_say_the_same() -> None:
    assert [is_archive(Path(name)) for name in ("a.TAR", "a.Tar.Gz", "a.tgz", "a.tar.zst", "a.tar.xz", "tar")] == [True] * 4 + [False] * 2
