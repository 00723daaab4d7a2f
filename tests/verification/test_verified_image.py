"""Images verified in their own root, under bubblewrap: what a container would see, and nothing of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.application import optimize
from hatch_mlbundle.bundles.images.running import Running
from hatch_mlbundle.errors import TrialError, VerificationError
from hatch_mlbundle.verification.image_root import ImageRoot, mount_points
from tests.bundles.images.test_optimized_image import job_for, seen
from tests.elfsmith import compile_elf
from tests.imagesmith import config_of, hard_link, layer, link, oci_layout

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **names) {
    char folder[200];
    const char *outside = getenv("OUTSIDE") ? "seen" : "unseen";
    printf("%s %s %s %d %s\n", getenv("MODE"), getenv("HOME"), getcwd(folder, sizeof folder), getuid(), outside);
    for (int each = 1; each < count; each++) {
        FILE *file = fopen(names[each], "r");
        int first = file ? fgetc(file) : -1;
        printf("%s: %d\n", names[each], first);
    }
    FILE *written = fopen("/var/cache/x", "w");
    printf("%s\n", written ? "writes" : "cannot write");
    return 0;
}
"""


PASSWD = b"root:x:0:0:root:/root:/bin/sh\nme:x:1234:1234::/home/me:/bin/sh\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_elf(tmp_path_factory.mktemp("program") / "run", "-static", source=SOURCE).read_bytes()


def image(tmp_path: Path, program: bytes, **config: Any) -> Path:
    files = layer(
        ("app/run", program),
        ("app/data.bin", b"A" + os.urandom(3000)),
        hard_link("app/again", "app/data.bin"),
        link("app/by", "/app/data.bin"),
        ("app/notes.txt", b"B"),
        ("var/cache/", None),
        ("etc/passwd", PASSWD),
        mode=0o755,
    )
    return oci_layout(tmp_path / "image", [files], config=config_of([files], config=config))


def verified(tmp_path: Path, *paths: str, run: Sequence[str], **verify: Any) -> tuple[list[str], dict[str, str | None]]:
    """Return the codes of the findings and the files, the image without `paths` as far as that changes nothing."""
    settings = {"commands": [{"run": list(run), **verify.pop("command", {})}], **verify}
    result = optimize(job_for(tmp_path, *paths, verify=settings), tmp_path / "image", tmp_path / "small")
    return [finding.code for finding in result.manifest.findings], seen(tmp_path / "small")


def test_what_a_command_misses_is_put_back_and_the_rest_goes(tmp_path: Path, program: bytes) -> None:
    image(tmp_path, program, Env=["MODE=1", "PATH=/app"])
    codes, files = verified(tmp_path, "/app/data.bin", "/app/again", "/app/notes.txt", run=["run", "/app/by", "/app/again"])
    assert set(files) == {"app/run", "app/data.bin", "app/again", "app/by", "etc/passwd"}
    assert codes == ["MB601", "MB601"]


def test_a_container_s_own_settings_count(tmp_path: Path, program: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE", "1")
    image(tmp_path, program, Env=["MODE=2"], WorkingDir="/app/sub", User="me")
    out = tmp_path / "out"
    comparator = ["sh", "-c", f"cp {{before}}/stdout {out}"]
    codes, files = verified(tmp_path, "/app/notes.txt", run=["{bundle}/app/run", "/app/by", "{work}/x"], command={"comparator": comparator})
    assert out.read_text().splitlines() == [
        "2 /home/me /app/sub 1234 unseen",
        "/app/by: 65",
        "/tmp/mlbundle/work/x: -1",
        "writes",
    ]
    assert codes == []  # a container may write into its root
    assert "app/notes.txt" not in files


def test_an_image_that_does_not_work_beforehand_is_left_alone(tmp_path: Path, program: bytes) -> None:
    image(tmp_path, program, Env=["MODE=1"])
    with pytest.raises(VerificationError, match="fails on the untouched artifact"):
        verified(tmp_path, "/app/notes.txt", run=["/bin/sh"])
    assert not (tmp_path / "small").exists()


def test_with_on_failure_error_nothing_is_written(tmp_path: Path, program: bytes) -> None:
    image(tmp_path, program, Env=["MODE=1"])
    with pytest.raises(VerificationError, match=r"exclude: app/notes\.txt"):
        verified(tmp_path, "/app/notes.txt", run=["/app/run", "/app/notes.txt"], **{"on-failure": "error"})
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("folder", "made"),
    [
        ("/../../etc/x", "etc/x"),
        ("app/./sub//deep/..", "app/sub"),
        ("/by/outside", None),
        ("/by/../other", "other"),
        ("/", None),
        ("", None),
    ],
)
def test_no_folder_is_made_outside_the_root_or_behind_a_link(folder: str, made: str | None) -> None:
    points = list(mount_points(Running(environment={}, folder=folder, user=""), {"by", "tmp"}))
    assert points == ["dev", "proc", "sys", "run", *([made] if made else [])]


@pytest.mark.parametrize(
    ("named", "user"),
    [("", (0, 0)), ("me", (1234, 1234)), ("1234", (1234, 1234)), ("77", (77, 0)), ("me:9", (1234, 9)), ("0:staff", (0, 50))],
)
def test_users_by_name_and_number(tmp_path: Path, named: str, user: tuple[int, int]) -> None:
    root = ImageRoot.of(tmp_path, Running(environment={}, folder="/", user=named), PASSWD.decode(), "staff:x:50:\nbroken\n")
    assert (root.user.number, root.user.group) == user


@pytest.mark.parametrize(("named", "said"), [("nobody", "'nobody', who is not"), ("me:none", "the group 'none'")])
def test_users_who_are_not_there(tmp_path: Path, named: str, said: str) -> None:
    with pytest.raises(TrialError, match=said):
        ImageRoot.of(tmp_path, Running(environment={}, folder="/", user=named), PASSWD.decode())
