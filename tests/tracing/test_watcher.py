from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.tracing.watcher import Watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("before", "read", "sub/read", "sub/deep/unread", "unwatched/read", "asked"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o755)
    return tmp_path


def test_what_any_process_opens_is_seen(root: Path) -> None:
    (root / "before").read_text()
    with Watcher((root, folder) for folder in ("", "sub", "sub/deep")) as watcher:
        subprocess.run(["cat", root / "read", root / "sub/read", root / "unwatched/read"], check=True, capture_output=True)
        subprocess.run([root / "program"], check=True)
        subprocess.run(["ls", root, root / "sub/deep"], check=True, capture_output=True)
        subprocess.run(["test", "-f", root / "asked"], check=True)
    (root / "before").read_text()
    assert watcher.opened.paths == {"read", "sub/read", "program"}
    assert watcher.opened.missed is None


def test_more_than_the_queue_holds_is_told_or_seen(root: Path) -> None:
    """The listener keeps up, or says that it did not; it never claims to have seen what it has not."""
    many = root / "many"
    many.mkdir()
    names = {f"{number}" for number in range(20_000)}
    for name in names:
        (many / name).touch()
    with Watcher([(root, "many")]) as watcher:
        subprocess.run(
            [
                sys.executable,
                "-I",
                "-c",
                f"import os\nfor name in os.listdir({str(many)!r}): os.close(os.open({str(many)!r} + '/' + name, 0))",
            ],
            check=True,
        )
    opened = watcher.opened
    assert opened.missed is not None or opened.paths == {f"many/{name}" for name in names}


def test_a_folder_that_cannot_be_watched_is_told(root: Path) -> None:
    with Watcher([(root, ""), (root, "gone")]) as watcher:
        (root / "read").read_text()
    assert watcher.opened.missed == "the system refuses to watch a folder (No such file or directory)"
    assert watcher.opened.paths == {"read"}
