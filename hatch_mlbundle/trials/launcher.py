"""Run by `jail.jail` as a process of its own: make a clean root out of namespaces, and start a command in it, if one is given.

`launcher.py PLAN [PROGRAM ARGUMENT...]`: PLAN is a JSON file with `root`, an empty folder, and `mounts`, each [source, target, writable].
The order of the steps is that of unshare(1) of util-linux and of user_namespaces(7), mount_namespaces(7), pivot_root(2). It ends with
the command's exit status, 128 and the number of a signal, or 127 where there is no such program in the root. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_APART = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_KEPT = {os.ST_NOSUID: _MS_NOSUID, os.ST_NODEV: _MS_NODEV, os.ST_NOEXEC: 8, os.ST_NOATIME: 1024, os.ST_NODIRATIME: 2048, 4096: 1 << 21}
"""Flags of a mount that a user namespace may not take away, as statvfs(3) and mount(2) call them; the last is relatime."""
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def main() -> int:
    """Make the root, run the command in it, and return its exit status."""
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    folder = os.getcwd()
    os.get_exec_path()  # it imports a module, which it would not find later
    environment = _given_environment()
    _unshare()
    process = os.fork()
    if process == 0:
        try:
            os._exit(_first_process(plan, folder, environment))
        except OSError as error:
            os.write(2, f"mlbundle: {error}\n".encode(errors="replace"))
        finally:
            os._exit(126)
    return _exit_code(os.waitpid(process, 0)[1])


def _unshare() -> None:
    """Enter namespaces of our own; root may do so without one for users, where those are forbidden."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWUSER | _APART)
    except OSError:
        if user != 0:
            raise
        _call("unshare", _APART)
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _first_process(plan: dict[str, object], folder: str, environment: dict[bytes, bytes]) -> int:
    """Make the root and be its process 1, which waits for all others; return the command's exit status."""
    _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with suppress(OSError):  # a network namespace without its loopback is still none
        _start_loopback()
    _build(str(plan["root"]), plan["mounts"])  # type: ignore[arg-type]
    if not sys.argv[2:]:
        return 0
    os.chdir(folder)
    command = os.fork()
    if command == 0:
        _execute(sys.argv[2:], environment)
    while True:
        ended, status = os.wait()
        if ended == command:
            return _exit_code(status)


def _given_environment() -> dict[bytes, bytes]:
    """Return the environment that this process was given: Python adds LC_CTYPE to its own (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        return {name: value for name, equals, value in (entry.partition(b"=") for entry in file.read().split(b"\0")) if equals}


def _execute(arguments: list[str], environment: dict[bytes, bytes]) -> None:
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606
    except OSError as error:
        os.write(2, f"mlbundle: {arguments[0]}: cannot be started in the clean root: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _build(root: str, mounts: list[tuple[str, str, bool]]) -> None:
    """Make the root's file system, and leave the other one."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for place, mode in (("tmp", "1777"), ("dev", "755"), ("dev/shm", "1777")):
        os.mkdir(f"{root}/{place}")
        _mount("tmpfs", f"{root}/{place}", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode}")
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", writable=True)
    for name, target in _LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    os.mkdir(f"{root}/proc")
    try:
        _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV)
    except OSError:  # inside a container whose own is masked
        _bind("/proc", f"{root}/proc", writable=True)
    for source, target, writable in mounts:
        _bind(source, root + target, writable=writable)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def _bind(source: str, target: str, *, writable: bool) -> None:
    """Show a file or folder at another place, too."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    _mount(source, target, None, _MS_BIND | _MS_REC)
    if not writable:
        flags = os.statvfs(target).f_flag
        kept = sum(mount for stat, mount in _KEPT.items() if flags & stat)
        _mount("none", target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = [os.fsencode(text) if text else None for text in (source, target, kind)]
    _call("mount", *encoded, flags, options.encode(), where=target)


def _call(name: str, *arguments: bytes | int | None, where: str | None = None) -> None:
    """Call a function of the C library; raises OSError."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", where)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.stderr.write(f"mlbundle: {error}\n")
        sys.exit(126)
