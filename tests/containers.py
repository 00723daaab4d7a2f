"""Images in the hands of skopeo, umoci and bubblewrap."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
needs_umoci = pytest.mark.skipif(not shutil.which("umoci"), reason="needs umoci")
needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap")
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")

PYTHON = Path(sys.base_prefix) / f"bin/python{sys.version_info[0]}.{sys.version_info[1]}"


def run(*command: object) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(*command: object) -> str:
    return run("skopeo", "--insecure-policy", *command)


def as_layout(image: str, folder: Path) -> Path:
    """Return an image that skopeo reads as an OCI layout whose only image is called `app`."""
    skopeo("copy", image, f"oci:{folder}:app")
    return folder


def unpacked(layout: Path, folder: Path) -> Path:
    """Return the root of such an image."""
    run("umoci", "unpack", *([] if os.geteuid() == 0 else ["--rootless"]), "--image", f"{layout}:app", folder)
    return folder / "rootfs"


def run_inside(root: Path, arguments: Sequence[str], environment: Mapping[str, str], *options: str) -> str:
    """Run this machine's Python with an unpacked image as its root, in /app; `options` are more of bubblewrap's."""
    shared = [each for each in ("/usr", "/lib", "/lib64", "/bin", sys.base_prefix) if Path(each).exists()]
    binds = [option for each in shared for option in ("--ro-bind", each, each)]
    settings = [option for name, value in environment.items() for option in ("--setenv", name, value)]
    inside = ["--bind", root, "/", *binds, "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv", *settings, "--chdir", "/app"]
    return run("bwrap", "--unshare-all", *inside, *options, PYTHON, *arguments)


def packed(files: Mapping[str, bytes], owner: int = 0) -> bytes:
    """Return a layer with these files and the folders above them, all of one owner."""
    sink = io.BytesIO()
    folders = sorted({parent.as_posix() for path in files for parent in Path(path).parents} - {"."})
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name in (*folders, *files):
            header = tarfile.TarInfo(name)
            header.uid = header.gid = owner
            header.mtime = 1_700_000_000
            if name in files:
                header.size, header.mode = len(files[name]), 0o644
                tar.addfile(header, io.BytesIO(files[name]))
            else:
                header.type, header.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(header)
    return sink.getvalue()
