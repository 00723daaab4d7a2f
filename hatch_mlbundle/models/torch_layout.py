"""Lay out smaller storages: of each only what a tensor looks at, and tensors that shared bytes go on sharing them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from .torch_values import Call, Ordered, Parameter, Storage, Tensor, Value, row_major
from .torch_views import is_contiguous, why_not_row_major


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The bytes of a storage from `start` to `end`, which go to `at` in the new one.

    Where a `view` is given, its elements go there alone, in row-major order, instead of all bytes from the first to the last.
    """

    start: int
    end: int
    at: int
    view: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes in the new storage."""
        return self.view.nbytes if self.view else self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePlan:
    """What becomes of one storage: the pieces are in order, and zeros fill what is between them; sizes are in bytes."""

    before: Storage
    after: Storage
    pieces: tuple[Piece, ...]

    @property
    def saved(self) -> int:
        """Bytes that it gets smaller."""
        return self.before.nbytes - self.after.nbytes


def plan_storages(tensors: Iterable[Tensor]) -> dict[str, StoragePlan]:
    """Return what becomes of each storage that these tensors look at, by key, in the order of the tensors."""
    by_key: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        by_key.setdefault(tensor.storage.key, []).append(tensor)
    return {key: _plan(views) for key, views in by_key.items()}


def relaid(value: Value, plans: Mapping[str, StoragePlan]) -> Value:
    """Return a value whose tensors look at the new storages; what was one object in it stays one."""
    return _relaid(value, plans, {})


def _plan(views: list[Tensor]) -> StoragePlan:
    storage = views[0].storage
    step = max(view.item_size for view in views)
    pieces = []
    at = 0
    for start, end, inside in _clusters(views):
        at += (start - at) % step  # elements stay as well aligned as they were
        view = _worth_gathering(inside)
        piece = Piece(start=start, end=end, at=at, view=view)
        pieces.append(piece)
        at += piece.size
    at += -at % storage.item_size
    if at >= storage.nbytes:
        return StoragePlan(before=storage, after=storage, pieces=(Piece(start=0, end=storage.nbytes, at=0),))
    return StoragePlan(before=storage, after=replace(storage, count=at // storage.item_size), pieces=tuple(pieces))


def _clusters(views: list[Tensor]) -> Iterator[tuple[int, int, list[Tensor]]]:
    """Yield the ranges of bytes that are looked at, in order, each with the views in it: ranges that touch are one."""
    inside: list[Tensor] = []
    start = end = 0
    for view in sorted((view for view in views if view.count), key=lambda view: view.byte_range):
        first, last = view.byte_range
        if inside and first > end:
            yield start, end, inside
            inside = []
        if not inside:
            start, end = first, last
        inside.append(view)
        end = max(end, last)
    if inside:
        yield start, end, inside


def _worth_gathering(views: list[Tensor]) -> Tensor | None:
    """Return the one view that is alone in its range and leaves gaps in it."""
    view = views[0]
    alone = all(other.place == view.place for other in views)
    gaps = view.nbytes < view.byte_range[1] - view.byte_range[0]
    return view if alone and gaps and not is_contiguous(view) and why_not_row_major(view) is None else None


def _moved(tensor: Tensor, plan: StoragePlan) -> Tensor:
    if not tensor.count:
        return replace(tensor, storage=plan.after, offset=0)
    start, _ = tensor.byte_range
    piece = plan.pieces[bisect_right(plan.pieces, start, key=lambda each: each.start) - 1]
    if piece.view is not None:
        return replace(tensor, storage=plan.after, offset=piece.at // tensor.item_size, stride=row_major(tensor.shape))
    return replace(tensor, storage=plan.after, offset=(piece.at + start - piece.start) // tensor.item_size)


def _relaid(value: Value, plans: Mapping[str, StoragePlan], made: dict[int, Value]) -> Value:
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, Tensor):
        new: Value = _moved(value, plans[value.storage.key])
    elif isinstance(value, Parameter):
        new = replace(value, tensor=_relaid(value.tensor, plans, made), state=_relaid(value.state, plans, made))
    elif isinstance(value, Call):
        new = replace(value, arguments=_relaid(value.arguments, plans, made))
    elif isinstance(value, dict):
        new = Ordered() if isinstance(value, Ordered) else {}
        new.update((key, _relaid(each, plans, made)) for key, each in value.items())
        if isinstance(value, Ordered):
            new.attributes = _relaid(value.attributes, plans, made)
    elif isinstance(value, (list, tuple)):
        new = type(value)(_relaid(each, plans, made) for each in value)
    else:
        return value
    made[id(value)] = new
    return new
