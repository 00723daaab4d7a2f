"""A clean root: a command sees the folders it is given, the C library, and nothing else of this machine (Linux).

What it needs and does not find there, a user's machine may lack as well: libstdc++, libgcc_s, OpenSSL, zlib.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.storage import storage_errors

from .c_library import c_library_mounts
from .mounts import Mount, seen_in
from .process import Wrap

_LAUNCHER = Path(__file__).with_name("launcher.py")
_SECONDS = 20.0
_BWRAP = ("--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp")  # noqa: S108
_HARDWARE = Path("/sys/devices/system")
"""Where libraries look for the processors that there are."""


def available() -> str | None:
    """Return None where a clean root can be made here, else the reason why not, in one line."""
    return _probe(shutil.which("bwrap"))[1]


def jail(mounts: Iterable[Mount], scratch: Path) -> Wrap:
    """Return what turns a command's arguments into those that run it in a clean root, for `process.run`.

    The command sees the mounts, and its working folder has to be in one of them; an empty /tmp; /proc; a small /dev; no network but
    a loopback. What is mounted under its own path is there under its real one, too, where a symbolic link leads to it. `scratch` is a
    folder for files of the jail's own, to be kept as long as the result is used. The memory measured is never less than what starts
    the jail needs, and a command that a signal ended has the exit status 128 and the signal's number, as in shells.

    Raises TrialError where no clean root can be made here; the function returned raises it for a program that is not in the root.
    """
    bwrap = shutil.which("bwrap")
    maker, problem = _probe(bwrap)
    if problem is not None:
        raise TrialError(f"{problem}; run without one (jail = false)")
    with storage_errors(scratch):
        seen = _in_order([*c_library_mounts(), *_own_files(scratch), *_under_real_paths(mounts)])
        start = _with_bwrap(str(bwrap), seen) if maker == "bwrap" else _with_launcher(seen, scratch)

    def wrap(arguments: Sequence[str]) -> Sequence[str]:
        _check_program(Path(arguments[0]), seen)
        return [*start, *arguments]

    return wrap


def _with_bwrap(bwrap: str, mounts: Sequence[Mount]) -> list[str]:
    bound = [text for each in mounts for text in ("--bind" if each.writable else "--ro-bind", str(each.source), str(each.target))]
    return [bwrap, *_BWRAP, *bound, "--"]


def _with_launcher(mounts: Sequence[Mount], scratch: Path) -> list[str]:
    plan, root = scratch / "jail.json", scratch / "root"
    root.mkdir(exist_ok=True)
    listed = [[str(each.source), str(each.target), each.writable] for each in mounts]
    plan.write_text(json.dumps({"root": str(root.absolute()), "mounts": listed}), encoding="utf-8")
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(plan.absolute())]


def _own_files(scratch: Path) -> list[Mount]:
    """Write the few files that the C library asks for users and hosts; return them, and the folder about this machine's processors."""
    user, group = os.getuid(), os.getgid()
    users = {0: "root", user: "user", 65534: "nobody"} | ({0: "root"} if user == 0 else {})
    groups = {0: "root", group: "user", 65534: "nogroup"} | ({0: "root"} if group == 0 else {})
    texts = {
        "passwd": "".join(f"{name}:x:{number}:{group if number else 0}:{name}:/tmp:/bin/sh\n" for number, name in users.items()),
        "group": "".join(f"{name}:x:{number}:\n" for number, name in groups.items()),
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    folder = scratch / "etc"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="ascii")
    mounts = [Mount(source=(folder / name).absolute(), target=Path("/etc", name)) for name in texts]
    return [*mounts, Mount.of(_HARDWARE)] if _HARDWARE.is_dir() else mounts


def _under_real_paths(mounts: Iterable[Mount]) -> list[Mount]:
    found: dict[Path, Mount] = {}
    for each in mounts:
        if not each.source.exists():
            raise TrialError(f"{each.source}: is not there, and is to be seen in the clean root")
        real = each.source.resolve()
        found[each.target] = each
        if each.target == each.source and real not in found:
            found[real] = Mount(source=real, target=real, writable=each.writable)
    return list(found.values())


def _in_order(mounts: Iterable[Mount]) -> list[Mount]:
    """Return the mounts from the outer ones to the inner, without those that show what an outer one shows already."""
    ordered: list[Mount] = []
    for each in sorted(mounts, key=lambda mount: len(mount.target.parts)):
        if not any(_shows(outer, each) for outer in ordered):
            ordered.append(each)
    return ordered


def _shows(outer: Mount, inner: Mount) -> bool:
    if outer.writable != inner.writable or not inner.target.is_relative_to(outer.target):
        return False
    return (outer.source / inner.target.relative_to(outer.target)).resolve() == inner.source.resolve()


def _check_program(program: Path, mounts: list[Mount]) -> None:
    """Raise TrialError where a program, or the interpreter of a script, is not in the root; others are told by what starts them."""
    if not program.is_absolute():
        return
    if not seen_in(program, mounts):
        raise TrialError(f"{program}: is not in the clean root, which holds the artifact and the C library only (jail = true)")
    with program.open("rb") as file:
        first = file.readline(1000)
    words = first[2:].split() if first.startswith(b"#!") else []
    if words and not seen_in(interpreter := Path(os.fsdecode(words[0])), mounts):
        raise TrialError(f"{program}: its interpreter {interpreter} is not in the clean root; run a program of the artifact (jail = true)")


@lru_cache
def _probe(bwrap: str | None) -> tuple[str, str | None]:
    """Return what can make a clean root here, bubblewrap or our launcher; or why neither can."""
    if sys.platform != "linux":
        return "", "a clean root needs Linux"
    problem = _try([bwrap, *_BWRAP, "--ro-bind", "/", "/", "true"]) if bwrap else "there is no bubblewrap"
    if problem is None:
        return "bwrap", None
    with tempfile.TemporaryDirectory(prefix="mlbundle-") as scratch:
        own = _try(_with_launcher([], Path(scratch)))
    return ("launcher", None) if own is None else ("", f"no clean root can be made here ({problem}; {own})")


def _try(arguments: Sequence[str]) -> str | None:
    """Return None where a program succeeds, else what it says."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else said[-1] if said else f"exit status {done.returncode}"
