"""The surroundings of a build: all that differs from machine to machine, and must not matter."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from hatch_mlbundle.cache import default_folder
from hatch_mlbundle.config import available_cores

Variation: TypeAlias = Literal[
    "folder", "hash seed", "file order", "file times", "clock", "umask", "user", "user id", "home", "time zone", "locale", "cores", "cache"
]
"""What can be varied."""

VARIATIONS: tuple[Variation, ...] = get_args(Variation)

_LISTING = Path(__file__).with_name("listing_order")
_KEPT_AT_HOME = {"CARGO_HOME": ".cargo", "RUSTUP_HOME": ".rustup", "PYENV_ROOT": ".pyenv", "PIP_CONFIG_FILE": ".config/pip/pip.conf"}
"""Tools that are found by way of the home folder: another one must not hide them."""
_LAUNCHER = """\
import os, sys
umask, cores, *command = sys.argv[1:]
os.umask(int(umask))
if int(cores):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
os.execvp(command[0], command)
"""
_DAYS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where and how one build runs. `folder` is an empty folder of its own, `umask` and `cores` (0 is all of them) bound its process.

    `age` is how long ago, in seconds, the files of the copy seem to be made; `backwards` that folders are listed in reversed order.
    """

    folder: Path
    variables: Mapping[str, str]
    umask: int
    cores: int
    age: float
    backwards: bool
    user_id: int | None

    def wrapped(self, command: list[str]) -> list[str]:
        """Return the command that runs this one in the surroundings."""
        launched = [sys.executable, "-I", "-c", _LAUNCHER, str(self.umask), str(self.cores), *command]
        return [*_as_user(self.user_id), *launched] if self.user_id is not None else launched


def possible(*, isolated: bool) -> dict[Variation, str | None]:
    """Return for each variation why it cannot be had here, None where it can.

    A build that installs what it needs (`isolated`) does so over TLS, whose certificates are not valid at any other time.
    """
    reasons: dict[Variation, str | None] = dict.fromkeys(VARIATIONS)
    if isolated:
        reasons["clock"] = "packages are installed in each build"
    elif _faketime() is None:
        reasons["clock"] = "libfaketime is not installed"
    if not (sys.platform == "linux" and _works_as_user()):
        reasons["user id"] = "needs user namespaces of Linux"
    if not hasattr(os, "sched_setaffinity") or available_cores() < 2:
        reasons["cores"] = "there is one core" if available_cores() < 2 else "this system binds no process to a core"
    return reasons


def surroundings(folder: Path, varied: Collection[Variation]) -> Surroundings:
    """Return the surroundings below `folder` that are as they are here but for what is varied; the folder is made."""
    place = folder / ("a-folder-with-quite-another-name/of-another-length" if "folder" in varied else "project")
    temporary = place.with_name("temporary") if "folder" in varied else folder / "tmp"
    for each in (place, temporary):
        each.mkdir(parents=True)
    variables = {
        **os.environ,
        "PYTHONHASHSEED": "4242" if "hash seed" in varied else "1",
        "TZ": "XXX-14" if "time zone" in varied else "UTC0",
        "MLBUNDLE_LISTING_ORDER": "reversed" if "file order" in varied else "sorted",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_LISTING), os.environ.get("PYTHONPATH")])),
        "TMPDIR": str(temporary),
        "MLBUNDLE_CACHE_DIR": str(folder / "cache" if "cache" in varied else default_folder().absolute()),
        **_locale("locale" in varied),
        **(_home(folder / "home") if "home" in varied else {}),
        **(dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "somebody-else") if "user" in varied else {}),
        **(_clock() if "clock" in varied else {}),
    }
    return Surroundings(
        folder=place,
        variables=variables,
        umask=0o077 if "umask" in varied else 0o022,
        cores=1 if "cores" in varied else 0,
        age=37 * _DAYS if "file times" in varied else 0,
        backwards="file order" in varied,
        user_id=54321 if "user id" in varied else None,
    )


def _locale(another: bool) -> dict[str, str]:  # noqa: FBT001
    name = _other_locale() if another else "C.UTF-8"
    return {"LC_ALL": name, "LANG": name, "LANGUAGE": name.partition("_")[0] if another else "en"}


@cache
def _other_locale() -> str:
    """Return a locale of another language, where one is installed: Turkish letters are those that differ most."""
    try:
        listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()  # noqa: S607
    except OSError:
        listed = []
    return next((name for wanted in ("tr_TR.", "de_", "fr_") for name in listed if name.startswith(wanted)), "C")


def _home(folder: Path) -> dict[str, str]:
    """Return a new home, in which tools that are installed in the old one are still found."""
    folder.mkdir()
    old = Path(os.path.expanduser("~"))  # noqa: PTH111 - unlike Path.home, it does not raise
    kept = {name: str(old / place) for name, place in _KEPT_AT_HOME.items() if name not in os.environ and (old / place).exists()}
    return {**kept, "HOME": str(folder)}


def _clock() -> dict[str, str]:
    """Return what makes a process see a time 400 days from now (libfaketime), and leaves times of files as they are."""
    preloaded = os.environ.get("LD_PRELOAD")
    library = _faketime() or ""
    return {
        "LD_PRELOAD": f"{library} {preloaded}" if preloaded else library,
        "FAKETIME": "+400d",
        "NO_FAKE_STAT": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@cache
def _faketime() -> str | None:
    """Return the path of libfaketime, by the program beside which it is installed, or where Debian has it."""
    if sys.platform != "linux":
        return None
    program = shutil.which("faketime")
    prefixes = [Path(program).resolve().parents[1]] if program else []
    for prefix in (*prefixes, Path("/usr")):
        for pattern in ("lib*/faketime/libfaketimeMT.so.1", "lib*/*/faketime/libfaketimeMT.so.1"):
            if found := sorted(prefix.glob(pattern)):
                return str(found[0])
    return ctypes.util.find_library("faketimeMT")


def _as_user(user_id: int) -> list[str]:
    return ["unshare", "--user", f"--map-user={user_id}", f"--map-group={user_id}", "--"]


@cache
def _works_as_user() -> bool:
    try:
        return subprocess.run([*_as_user(54321), "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
