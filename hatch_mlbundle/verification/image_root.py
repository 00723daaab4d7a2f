"""Run commands in the unpacked root of a container image, as a container does it: what they see of this machine is its kernel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.images.running import Running
from hatch_mlbundle.errors import TrialError

PLACES = {"bundle": Path("/"), "work": Path("/tmp/mlbundle/work"), "project": Path("/tmp/mlbundle/project")}  # noqa: S108 - in the root
"""What placeholders stand for there."""
_MOUNTED = ("dev", "proc", "sys", "tmp", "run")
_HARDWARE = Path("/sys/devices/system")
"""Where libraries look for the processors that there are."""
_BWRAP = (
    "--unshare-user",
    "--unshare-all",
    "--die-with-parent",
    "--clearenv",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--tmpfs",
    "/tmp",
    "--tmpfs",
    "/run",
)  # noqa: S108


def mount_points(running: Running) -> Iterator[str]:
    """Yield the folders that the root must have, relative to it: some images lack them."""
    yield from _MOUNTED
    if folder := running.folder.strip("/"):
        yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRoot:
    """An unpacked root on disk, and how a container of it starts: `user` and `group` are numbers, `home` is that user's folder."""

    root: Path
    bwrap: str
    running: Running
    user: int
    group: int
    home: str

    @classmethod
    def of(cls, root: Path, running: Running, users: str = "", groups: str = "") -> ImageRoot:
        """Return a root where it lies; `users` and `groups` are its /etc/passwd and /etc/group. Raises TrialError without bubblewrap."""
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise TrialError("an image is verified in its own root, which needs bubblewrap (bwrap); install it, or use --no-verify")
        user, group, home = _user(running.user, users, groups)
        return cls(root=root, bwrap=bwrap, running=running, user=user, group=group, home=home)

    def arguments(self, command: Sequence[str], variables: Mapping[str, str], places: Mapping[str, Path]) -> tuple[str, ...]:
        """Return what runs a command in the root with these variables besides the image's own; `places` of this machine are seen there."""
        environment = {"HOME": self.home, **self.running.environment, **variables}
        shown = [_HARDWARE] if _HARDWARE.is_dir() else []
        return (
            *(self.bwrap, "--bind", str(self.root), "/", *_BWRAP, "--uid", str(self.user), "--gid", str(self.group)),
            *(text for each in shown for text in ("--ro-bind", str(each), str(each))),
            *("--bind", str(places["work"]), str(PLACES["work"]), "--ro-bind", str(places["project"]), str(PLACES["project"])),
            *(text for name, value in environment.items() for text in ("--setenv", name, value)),
            *("--chdir", self.running.folder, "--", *command),
        )


def _user(named: str, users: str, groups: str) -> tuple[int, int, str]:
    """Return the numbers of user and group, and the home folder (passwd(5), group(5)); raises TrialError for a user that is not there."""
    user, _, group = named.partition(":")
    rows = [row for line in users.splitlines() if len(row := line.split(":")) >= 6 and row[2].isdecimal() and row[3].isdecimal()]
    row = next((row for row in rows if user in (row[0], row[2])), None) if user else next((row for row in rows if row[2] == "0"), None)
    if row is None and user and not user.isdecimal():
        raise TrialError(f"the image is to run as {user!r}, who is not in its /etc/passwd")
    number, own, home = (int(row[2]), int(row[3]), row[5]) if row else (int(user or 0), 0, "/root" if user in ("", "0") else "/")
    if group:
        found = next((line.split(":")[2] for line in groups.splitlines() if line.split(":")[0] == group and line.count(":") >= 3), group)
        own = int(found) if found.isdecimal() else own
    return number, own, home
