"""What is advised is done: an image is built, its Dockerfile changed as the options say, and it is built again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.manifest import AdviceRow

pytestmark = pytest.mark.skipif(not shutil.which("buildah") or os.geteuid() != 0, reason="needs buildah, and to be root")

PROGRAMS = ("sh", "rm", "cp", "chown", "find")
DOCKERFILE = [
    "COPY root /",
    "COPY app /app",
    "RUN cp -r /app/pip /root/.cache/ && cp /app/main.py /big && cp -r /app/share /usr/ && cp -r /app/main.py /app/made",
    "RUN rm /big",
    "RUN chown -R 5:6 /app",
]
OPTIONS = ("other-caches", "pip-cache", "owner-copies", "hidden-files", "documentation")


def context(folder: Path) -> Path:
    """Make a build context: a root with a few real programs, and an application of bytes that do not compress."""
    for name in PROGRAMS:
        program = Path(shutil.which(name) or name).resolve()
        for each in (
            program,
            *map(Path, re.findall(r"/\S+", subprocess.check_output(["ldd", str(program)], text=True).partition("\n")[2])),
        ):
            target = folder / "root/bin" / name if each == program else folder / "root" / str(each)[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each, target)
    (folder / "root/root/.cache").mkdir(parents=True)
    (folder / "root/usr").mkdir(exist_ok=True)
    for path, size in (("main.py", 400_000), ("pip/a", 900_000), ("share/doc/a/readme", 300_000), ("share/doc/a/copyright", 5_000)):
        file = folder / "app" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(size))
    return folder


def build(folder: Path, lines: list[str], name: str) -> Side:
    (folder / f"{name}.Dockerfile").write_text("\n".join(["FROM scratch", *lines]) + "\n")
    store = ["--root", str(folder.parent / "store"), "--runroot", str(folder.parent / "run"), "--storage-driver", "vfs"]
    how = ["build", "--isolation", "chroot", "--layers", "-f", str(folder / f"{name}.Dockerfile")]
    subprocess.run(
        ["buildah", *store, *how, "-t", f"oci:{folder.parent / name}", str(folder)], check=True, capture_output=True, timeout=120
    )
    with ThreadPoolExecutor(2) as pool:
        image = open_image(folder.parent / name, pool, Limits())
        assert image is not None
        return image.scan()


def edited(lines: list[str], options: Mapping[str, AdviceRow]) -> list[str]:
    """Return the Dockerfile with the instructions that the options tell to write in their places, the copy of the context by hand."""
    new = list(lines)
    for name in ("documentation", "hidden-files", "pip-cache", "other-caches"):
        if name in options:
            ((number, line),) = instructions(options[name])
            new[number - 1] += f" && {line.rpartition(' && ')[2]}"
    (number, copy), (also, run) = instructions(options["owner-copies"])
    new[number - 1] = copy.replace("SOURCE", "app")
    new[also - 1] += f" && {run.rpartition(' && ')[2]}"
    assert "# and no longer delete it in layer 4: RUN rm /big" in options["hidden-files"].edits[0].text
    assert "# and leave out of layer 5: chown -R 5:6 /app" in options["owner-copies"].edits[0].text
    return new[:3]


def instructions(row: AdviceRow) -> list[tuple[int, str]]:
    """Return the layers that an option's first edit names, and the instruction for each."""
    text = re.sub(r" \\\n", "", row.edits[0].text)
    found = re.findall(r"^# layer (\d+): .*\n((?:RUN|COPY) .*)$", text, re.MULTILINE)
    assert found
    return [(int(number), line) for number, line in found]


def unpacked(side: Side) -> int:
    return sum(row.installed + row.hidden_installed for row in side.layers)


def test_a_dockerfile_changed_as_advised_saves_what_was_said(tmp_path: Path) -> None:
    folder = context(tmp_path / "context")
    before = build(folder, DOCKERFILE, "before")
    options = {row.name: row for row in before.advice if row.name in OPTIONS}
    assert {"owner-copies", "hidden-files", "documentation", "pip-cache"} <= options.keys()
    after = build(folder, edited(DOCKERFILE, options), "after")
    assert unpacked(before) - unpacked(after) == sum(row.adds.installed for row in options.values())
    assert not {row.name for row in after.advice} & set(OPTIONS)
    seen = {path: file.sha256 for path, file in before.bundle.items() if "/.cache/" not in path and "/readme" not in path}
    assert seen.items() <= {path: file.sha256 for path, file in after.bundle.items()}.items()
