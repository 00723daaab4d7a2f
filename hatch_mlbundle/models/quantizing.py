"""Store a safetensors file in fewer bits, each tensor in the smallest way that its error allows; in one pass where the first one does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.arrangement import Arrangement, arrange_packed, arrange_plain
from hatch_mlbundle.models.casting import ErrorSum, total
from hatch_mlbundle.models.gates import LADDERS, Policy, Setting, following
from hatch_mlbundle.models.positioned import copy_range, opened, write_from
from hatch_mlbundle.models.safetensors import Header, Tensor
from hatch_mlbundle.models.streaming import Item, Piece, carry, worker_threads
from hatch_mlbundle.models.twins import find_twins

_ONE_AT_A_TIME = threading.Lock()
"""One file keeps the disk busy; two at once would only take the memory of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of one tensor: `setting`, why it is not what was tried first, the bytes of its parts, and the pieces it was carried in.

    A tensor with the bytes of one before it, `twin`, takes none in a packed file.
    """

    tensor: Tensor
    setting: Setting
    reason: str
    after: str
    size: int
    pieces: Sequence[Piece]
    twin: str | None = None

    @property
    def error(self) -> ErrorSum | None:
        """The tensor's error, None where it is stored exactly."""
        return None if self.setting == "keep" else total(piece.error for piece in self.pieces if piece.error)

    def row(self) -> dict[str, Any]:
        """Return the tensor as the manifest has it."""
        row: dict[str, Any] = {
            "name": self.tensor.name,
            "shape": list(self.tensor.shape),
            "before": self.tensor.dtype,
            "after": self.after,
            "size": [self.tensor.nbytes, self.size],
            "sqnr": decibels(self.error),
        }
        return {**row, "reason": self.reason} if self.reason else row


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A file that was stored in fewer bits: `packed` says which format it has, `size` its bytes."""

    packed: bool
    size: int
    tensors: tuple[Stored, ...]

    @property
    def error(self) -> ErrorSum:
        """The error of all tensors that were changed."""
        return total(each.error for each in self.tensors if each.error)

    @property
    def changed(self) -> bool:
        """Whether any tensor is stored otherwise than it was."""
        return any(each.setting != "keep" or each.twin for each in self.tensors)


def decibels(error: ErrorSum | None) -> float | None:
    """Return an error as the manifest has it: dB with two decimals, None where there is none."""
    sqnr = error.sqnr if error else None
    return round(sqnr, 2) if sqnr is not None and isfinite(sqnr) else None


def best_size(header: Header, policy: Policy) -> int:
    """Return the bytes of the file where every tensor could be stored in the smallest way; tied tensors are not looked for."""
    settings = {each.name: policy.ladder(each, LADDERS[policy.target][0])[0] for each in header.tensors}
    if set(settings.values()) <= {"keep"}:
        return header.size
    encodings = {name: policy.encoding(setting) for name, setting in settings.items()}
    try:
        return (arrange_packed(header, encodings, {}) if policy.packed else arrange_plain(header, encodings)).size
    except KeptError:
        return header.size


def quantize_file(
    source: Path, header: Header, target: Path, policy: Policy, start: Callable[[Tensor], Setting], threads: int = 0
) -> Quantized:
    """Write `target`, a new file, from the safetensors file `source` with this header; `start` says what to try first for each tensor.

    Raises ModelError where the source is not what its header says, KeptError where it cannot be stored so, OSError.
    """
    with _ONE_AT_A_TIME:
        return _Quantizing(source, header, policy, threads or worker_threads()).run(target, start)


class _Quantizing:
    """One file on its way: the choices so far, and the pieces that each tensor was measured in."""

    def __init__(self, source: Path, header: Header, policy: Policy, threads: int) -> None:
        self._source = source
        self._header = header
        self._policy = policy
        self._threads = threads
        self._twins = self._find_twins() if policy.packed else {}
        self._distinct = [each for each in header.tensors if each.name not in self._twins]
        self._settings: dict[str, Setting] = {}
        self._reasons: dict[str, list[str]] = {}
        self._pieces: dict[str, list[Piece]] = {}

    def run(self, target: Path, start: Callable[[Tensor], Setting]) -> Quantized:
        ladders = {each.name: self._ladder(each, start(each)) for each in self._header.tensors}
        self._settings = {name: ladder[0] for name, ladder in ladders.items()}
        first = self._arrange()
        _create(target, first)
        self._carry(target, first, self._distinct)
        changed = self._settle(ladders)
        final = self._arrange()
        if changed:
            self._rearrange(target, first, final, changed)
        return Quantized(packed=self._policy.packed, size=final.size, tensors=tuple(self._stored(each) for each in self._header.tensors))

    def _find_twins(self) -> dict[str, str]:
        """Return the tensors that can share their bytes: the same ones, unless only one of them is to be kept as it is."""
        kept = {each.name: self._policy.why_kept(each) is not None for each in self._header.tensors}
        return {name: twin for name, twin in find_twins(self._source, self._header).items() if kept[name] == kept[twin]}

    def _ladder(self, tensor: Tensor, start: Setting) -> tuple[Setting, ...]:
        reason = self._policy.why_kept(tensor)
        self._reasons[tensor.name] = [reason] if reason else []
        return self._policy.ladder(tensor, start)

    def _arrange(self) -> Arrangement:
        settings = {each.name: self._settings[self._twins.get(each.name, each.name)] for each in self._header.tensors}
        encodings = {name: self._policy.encoding(setting) for name, setting in settings.items()}
        return arrange_packed(self._header, encodings, self._twins) if self._policy.packed else arrange_plain(self._header, encodings)

    def _carry(self, target: Path | None, arrangement: Arrangement | None, tensors: Sequence[Tensor]) -> None:
        places = arrangement.places if arrangement else {}
        items = [
            Item(tensor=each, encoding=self._policy.encoding(self._settings[each.name]), places=places.get(each.name, {}))
            for each in tensors
        ]
        for each, pieces in zip(tensors, carry(self._source, target, items, self._threads), strict=True):
            self._pieces[each.name] = pieces

    def _settle(self, ladders: Mapping[str, tuple[Setting, ...]]) -> list[Tensor]:
        """Go down the ladder of each tensor whose error is too large; return those that are stored otherwise than at first."""
        changed: dict[str, Tensor] = {}
        waiting = self._distinct
        while waiting:
            moved = [each for each in waiting if self._step_down(each, ladders[each.name])]
            changed |= {each.name: each for each in moved}
            waiting = [each for each in moved if self._settings[each.name] != "keep"]
            self._carry(None, None, waiting)
        return list(changed.values())

    def _step_down(self, tensor: Tensor, ladder: tuple[Setting, ...]) -> bool:
        setting = self._settings[tensor.name]
        error = total(piece.error for piece in self._pieces[tensor.name] if piece.error)
        reason = None if setting == "keep" else self._policy.why_unfit(setting, error)
        if reason:
            self._reasons[tensor.name].append(reason)
            self._settings[tensor.name] = following(ladder, setting, error)
        return reason is not None

    def _rearrange(self, target: Path, first: Arrangement, final: Arrangement, changed: Sequence[Tensor]) -> None:
        """Make the file that has the final settings out of the first one: in place where nothing else moves, else as a new file."""
        names = {each.name for each in changed}
        same = [each for each in self._distinct if each.name not in names]
        stays = all(first.places[each.name] == final.places[each.name] for each in same)
        if stays and len(first.head) == len(final.head) and not self._policy.packed:
            os.truncate(target, final.size)
            _write_head(target, final)
            self._carry(target, final, changed)
            return
        fresh = target.with_name(f"{target.name}.fresh")
        _create(fresh, final)
        self._move(target, first, fresh, final, same)
        self._carry(fresh, final, changed)
        fresh.replace(target)

    def _move(self, target: Path, first: Arrangement, fresh: Path, final: Arrangement, tensors: Sequence[Tensor]) -> None:
        with opened(target, os.O_RDONLY) as reading, opened(fresh, os.O_WRONLY) as writing:
            for tensor in tensors:
                parts = self._policy.encoding(self._settings[tensor.name]).parts(tensor)
                for part, size in parts.items():
                    start = first.places[tensor.name][part]
                    copy_range(reading, start, start + size, writing, final.places[tensor.name][part])

    def _stored(self, tensor: Tensor) -> Stored:
        """Return what became of a tensor; one with a twin has that one's story."""
        twin = self._twins.get(tensor.name)
        teller = twin or tensor.name
        setting = self._settings[teller]
        reasons = [*self._reasons[teller], *([f"stored once, with {twin}"] if twin else [])]
        return Stored(
            tensor=tensor,
            setting=setting,
            reason="; ".join(reasons),
            after=tensor.dtype if setting == "keep" else self._policy.words(setting),
            size=0 if twin else self._policy.encoding(setting).size(tensor),
            pieces=self._pieces[teller],
            twin=twin,
        )


def _create(path: Path, arrangement: Arrangement) -> None:
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        os.ftruncate(descriptor, arrangement.size)
        write_from(descriptor, arrangement.head, 0)


def _write_head(path: Path, arrangement: Arrangement) -> None:
    with opened(path, os.O_WRONLY) as descriptor:
        write_from(descriptor, arrangement.head, 0)
