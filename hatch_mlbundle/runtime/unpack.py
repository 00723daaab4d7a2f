"""Unpack weight files that were packed for the download (`model.safetensors.mlpack`): once, exactly, checked by their SHA-256.

    python -m hatch_mlbundle.runtime.unpack FOLDER_OR_FILE

unpacks everything below; an application that cannot wait for that asks `unpacked` for the path of the file it needs. Nothing
half-written ever stands under the original's name, and a packed file goes only after the original is complete and on the disk: after
a kill, start it again. It needs the standard library only; where numpy is installed it is five times as fast.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from . import place_lock
from .planes import HEAD_SIZE, LENGTH, MOST_BESIDE, Head, decode, read_head
from .signpost import COMPRESSED, is_signpost
from .user_folders import user_cache

_FOLDER = "MLBUNDLE_UNPACKED_DIR"
_WORKERS = 8
_TRIES = 3
_CHUNK = 1 << 20
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def unpack(path: str | os.PathLike[str], *, keep: bool = False) -> tuple[str, ...]:
    """Unpack a packed file, or all below a folder, in place; return the paths of the originals, sorted.

    `keep` leaves the packed files. Raises ValueError, in one line, at the first that is damaged, and OSError where the file system
    refuses; what was unpacked before it stays, and that one is as it was.
    """
    return tuple(_unpack_in_place(packed, keep=keep) for packed in _packed_below(os.fspath(path)))


def unpacked(path: str | os.PathLike[str]) -> str:
    """Return the path of a weight file that may be packed, unpacked first where that was not done yet.

    `path` is the packed file's, or the original's. It is unpacked in place; where its folder cannot be written, or where the environment
    has MLBUNDLE_UNPACKED_DIR, into `cache_folder`. Several processes may ask at once: one does the work, the others wait. Raises
    ValueError, in one line, where the file is damaged, and OSError.
    """
    name = os.fspath(path)
    packed = name if name.endswith(COMPRESSED) else name + COMPRESSED
    original = _original(packed)
    if not os.path.exists(packed) and _is_file(original):  # it never was packed, or another process was faster
        return original
    try:
        return _unpacked(packed, original)
    except FileNotFoundError:
        if os.path.exists(packed) or not _is_file(original):
            raise
        return original  # another process was faster by less


def _unpacked(packed: str, original: str) -> str:
    """Unpack a file in place and take the packed one away if that can be, or else into the cache; return the original's path."""
    if os.environ.get(_FOLDER):
        return _unpack_into_cache(packed)
    try:
        _unpack_in_place(packed, keep=True)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return _unpack_into_cache(packed)
    with contextlib.suppress(OSError):
        os.unlink(packed)
    return original


def sha256_of_original(packed: BinaryIO, size: int) -> bytes:
    """Unpack a packed file of `size` bytes to nowhere, and return the SHA-256 of what came out; raises ValueError where it is damaged."""
    digest = hashlib.sha256()
    for data in _originals(packed, read_head(packed.read(HEAD_SIZE), size)):
        digest.update(data)
    return digest.digest()


def cache_folder() -> str:
    """Return where originals go that do not go into their own folder: MLBUNDLE_UNPACKED_DIR, else below the user's cache folder."""
    chosen = os.environ.get(_FOLDER)
    if chosen:
        return os.path.abspath(chosen)
    base = user_cache() or os.path.abspath(os.path.expanduser(os.path.join("~", ".cache")))
    return os.path.join(base, "mlbundle", "unpacked")


def _packed_below(path: str) -> Iterable[str]:
    if not os.path.isdir(path):
        return [path]
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names if name.endswith(COMPRESSED))
    return sorted(each for each in found if not os.path.islink(each))


def _original(packed: str) -> str:
    name = os.path.basename(packed)
    if not name.endswith(COMPRESSED) or name == COMPRESSED:
        raise ValueError(f"{packed}: the name of a packed file ends in {COMPRESSED}; give it back the name that it came with")
    return packed[: -len(COMPRESSED)]


def _unpack_in_place(packed: str, *, keep: bool) -> str:
    """Unpack one file where it is, unless that is done, and take the packed one away."""
    original = _original(packed)
    with _opened(packed) as (stream, info):
        head = read_head(stream.read(HEAD_SIZE), info.st_size)
        if not _is_done(original, head):
            _write(stream, head, original, stat.S_IMODE(info.st_mode) & 0o777)
    if not keep:
        _remove(packed)
    return original


def _unpack_into_cache(packed: str) -> str:
    with _opened(packed) as (stream, info):
        head = read_head(stream.read(HEAD_SIZE), info.st_size)
        folder = os.path.join(cache_folder(), head.sha256.hex())
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if hasattr(os, "geteuid") and os.stat(folder).st_uid != os.geteuid():
            raise ValueError(f"{folder} is another user's; set {_FOLDER} to a folder of your own")
        original = os.path.join(folder, os.path.basename(_original(packed)))
        if not _is_file(original) or os.path.getsize(original) != head.size:  # only what was checked ever gets its name
            _write(stream, head, original, 0o600)
    return original


@contextlib.contextmanager
def _opened(packed: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a packed file, and let a ValueError in the body name it."""
    if not stat.S_ISREG(os.stat(packed).st_mode):
        raise ValueError(f"{packed}: it is no file")
    try:
        with open(packed, "rb") as stream:
            yield stream, os.fstat(stream.fileno())
    except ValueError as error:
        raise ValueError(f"{packed}: {error}") from error


def _remove(packed: str) -> None:
    try:
        os.unlink(packed)
    except FileNotFoundError:  # another process was faster
        pass
    except PermissionError:  # on Windows one that waited may have it open; it takes it away
        if os.name != "nt":
            raise


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and not is_signpost(path)


def _is_done(original: str, head: Head) -> bool:
    """Say whether the original is there; raises ValueError where a file is in its place that is neither it nor a signpost."""
    if not os.path.lexists(original):
        return False
    if os.path.isfile(original) and is_signpost(original):
        return False
    if os.path.isfile(original) and os.path.getsize(original) == head.size and _sha256(original) == head.sha256:
        return True
    raise ValueError(f"{original} is there already, and is not what it unpacks to; move that away")


def _sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _write(packed: BinaryIO, head: Head, original: str, mode: int) -> None:
    """Write the original under another name, check it, and only then give it its own."""
    for _ in range(_TRIES):
        try:
            _write_once(packed, head, original, mode)
            return
        except PermissionError:
            if os.name != "nt":
                raise
            # between closing the finished file and renaming it another process opened it, which then writes it again
            packed.seek(HEAD_SIZE)
    _write_once(packed, head, original, mode)


def _write_once(packed: BinaryIO, head: Head, original: str, mode: int) -> None:
    folder, name = os.path.split(original)
    unfinished = os.path.join(folder, f".{name}.mlbundle-unpacking")
    with place_lock.locked(unfinished) as place:
        try:
            if _is_done(original, head):  # while this process waited
                place.discard()
                return
            with open(place.descriptor, "wb", closefd=False) as stream:
                stream.writelines(_originals(packed, head))
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(unfinished, mode)
            place.rename(original)
        except BaseException:
            place.discard()
            raise


def _originals(packed: BinaryIO, head: Head) -> Iterator[bytearray]:
    """Yield what the blocks stand for, in order, decoded on all cores; raises ValueError where it is not what the head says."""
    digest = hashlib.sha256()
    for data in _decoded(packed, head):
        digest.update(data)
        yield data
    if packed.read(1):
        raise ValueError("something follows its last block; get it anew")
    if digest.digest() != head.sha256:
        raise ValueError("it does not unpack to what its SHA-256 says; get it anew")


def _decoded(packed: BinaryIO, head: Head) -> Iterator[bytearray]:
    from concurrent.futures import Future, ThreadPoolExecutor

    workers = min(_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[bytearray]] = deque()
        try:
            for number in range(head.blocks):
                size = head.block_size(number)
                waiting.append(pool.submit(decode, _read_block(packed, size), size))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_block(packed: BinaryIO, size: int) -> memoryview:
    prefix = packed.read(LENGTH.size)
    length = LENGTH.unpack(prefix)[0] if len(prefix) == LENGTH.size else 0
    if length > size + MOST_BESIDE:
        raise ValueError("a block is longer than what it stands for; get it anew")
    data = packed.read(length)
    if not length or len(data) != length:
        raise ValueError("it ends too early; get it anew")
    return memoryview(data)


def main(arguments: list[str] | None = None) -> int:
    """Unpack what the command line names; return 0, or 1 where something is damaged or could not be written. Wrong use exits with 2."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m hatch_mlbundle.runtime.unpack", description="Unpack packed weight files.")
    parser.add_argument("paths", nargs="+", metavar="PATH", help=f"a packed file (*{COMPRESSED}), or a folder: everything below it")
    parser.add_argument("--keep", action="store_true", help="leave the packed files where they are")
    options = parser.parse_args(arguments)
    for path in options.paths:
        if not os.path.exists(path):
            parser.error(f"{path}: there is no such file or folder")
    failed = False
    for packed in (each for path in options.paths for each in _packed_below(path)):
        try:
            print(f"unpacked {_unpack_in_place(packed, keep=options.keep)}")  # noqa: T201 - it is a command
        except (OSError, ValueError) as error:
            failed = True
            line = f"{packed}: {error.strerror or error}" if isinstance(error, OSError) else error
            print(f"mlbundle: {line}", file=sys.stderr)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
