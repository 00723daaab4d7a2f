"""Run commands in the unpacked root of a container image, as a container does it: what they see of this machine is its kernel."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hatch_mlbundle.bundles.images.running import Running
from hatch_mlbundle.errors import TrialError

PLACES = {"bundle": Path("/"), "work": Path("/tmp/mlbundle/work"), "project": Path("/tmp/mlbundle/project")}  # noqa: S108 - in the root
"""What placeholders stand for there."""
_MODELS = Path("/tmp/mlbundle/models")  # noqa: S108 - in the root
_MOUNTED = ("dev", "proc", "sys", "tmp", "run")
_HARDWARE = Path("/sys/devices/system")
"""Where libraries look for the processors that there are."""
_ISOLATION = ("--unshare-user", "--unshare-all", "--die-with-parent", "--clearenv", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run")


def mount_points(running: Running, files: Container[str]) -> Iterator[str]:
    """Yield the folders that the root must have, relative to it: some images lack them. None lies behind one of its links."""
    for each in (*_MOUNTED, posixpath.normpath(f"/{running.folder}").lstrip("/")):
        parts = each.split("/") if each else []
        above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        if above and not any(folder in files for folder in above):
            yield each


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRoot:
    """An unpacked root on disk, and how a container of it starts."""

    root: Path
    bwrap: str
    running: Running
    user: _User

    @classmethod
    def of(cls, root: Path, running: Running, users: str = "", groups: str = "") -> ImageRoot:
        """Return a root where it lies; `users` and `groups` are its /etc/passwd and /etc/group. Raises TrialError without bubblewrap."""
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise TrialError("an image is verified in its own root, which needs bubblewrap (bwrap); install it, or use --no-verify")
        return cls(root=root, bwrap=bwrap, running=running, user=_user(running.user, users, groups))

    def arguments(
        self, command: Sequence[str], variables: Mapping[str, str], *, work: Path, project: Path, models: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """Return what runs a command in the root with these variables besides the image's own.

        `work`, to be written to, and `project` are folders of this machine, and `models` those of models that left the image.
        """
        seen = {_MODELS / str(number): folder for number, folder in enumerate(models, 1)}
        told = {"MLBUNDLE_MODELS": ":".join(map(str, seen)), "MLBUNDLE_OFFLINE": "1"} if models else {}
        environment = {"HOME": self.user.home, **self.running.environment, **told, **variables}
        shown = {PLACES["project"]: project, **seen, **({_HARDWARE: _HARDWARE} if _HARDWARE.is_dir() else {})}
        return (
            *(self.bwrap, "--bind", str(self.root), "/", *_ISOLATION, "--tmpfs", "/tmp"),  # noqa: S108 - in the root
            *("--uid", str(self.user.number), "--gid", str(self.user.group)),
            *("--bind", str(work), str(PLACES["work"])),
            *(text for target, source in shown.items() for text in ("--ro-bind", str(source), str(target))),
            *(text for name, value in environment.items() for text in ("--setenv", name, value)),
            *("--chdir", self.running.folder, "--", *command),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _User:
    number: int
    group: int
    home: str


def _user(named: str, users: str, groups: str) -> _User:
    """Return the user that a configuration names, `USER` or `USER:GROUP`, by name or number; raises TrialError for one who is not there."""
    wanted, _, group = named.partition(":")
    found = next((user for name, user in _users(users) if (wanted or "0") in (name, str(user.number))), None)
    if found is None and wanted and not wanted.isdecimal():
        raise TrialError(f"the image is to run as {wanted!r}, who is not in its /etc/passwd")
    user = found or _User(number=int(wanted or 0), group=0, home="/")
    return replace(user, group=_group(group, groups)) if group else user


def _users(text: str) -> Iterator[tuple[str, _User]]:
    """Yield the users in a text like that of passwd(5), by name."""
    for line in text.splitlines():
        match line.split(":"):
            case [name, _, number, group, _, home, *_] if number.isdecimal() and group.isdecimal():
                yield name, _User(number=int(number), group=int(group), home=home)


def _group(named: str, text: str) -> int:
    """Return the number of a group, by the rows of group(5); raises TrialError for one that is not there."""
    if named.isdecimal():
        return int(named)
    for line in text.splitlines():
        match line.split(":"):
            case [name, _, number, *_] if name == named and number.isdecimal():
                return int(number)
    raise TrialError(f"the image is to run with the group {named!r}, which is not in its /etc/group")
