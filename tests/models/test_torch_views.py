"""Elements of tensors in row-major order, whatever their strides: against a plain loop over all indices."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.models import torch_views
from hatch_mlbundle.models.torch_values import Name, Storage, Tensor, row_major
from hatch_mlbundle.models.torch_views import is_contiguous, row_major_chunks, why_not_row_major

DTYPES = {1: "int8", 2: "float16", 4: "float32", 8: "float64"}


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, dtype: str = "float32") -> Tensor:
    storage = Storage(key="0", type=Name("torch.storage", "UntypedStorage"), location="cpu", count=1 << 30)
    return Tensor(storage=storage, dtype=dtype, offset=offset, shape=shape, stride=stride, requires_grad=False)


def elements(view: Tensor, data: bytes) -> bytes:
    """Pick the elements one by one."""
    item = view.item_size
    steps = [[index * step for index in range(length)] for length, step in zip(view.shape, view.stride, strict=True)]
    places = (view.offset + sum(indices) for indices in itertools.product(*steps))
    return b"".join(data[place * item : place * item + item] for place in places)


def check(view: Tensor) -> None:
    data = bytes(number % 251 for number in range(view.byte_range[1] + 8))
    longest = 0

    def read(offset: int, size: int) -> bytes:
        nonlocal longest
        longest = max(longest, size)
        assert offset + size <= view.byte_range[1]
        return data[offset : offset + size]

    chunks = list(row_major_chunks(view, read))
    assert b"".join(chunks) == elements(view, data)
    assert max([0, *map(len, chunks)]) <= max(torch_views.BLOCK, torch_views.GATHERED, view.item_size)
    assert longest <= max(torch_views.SPAN, torch_views.BLOCK, view.item_size)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_view_is_read_in_row_major_order(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=0, max_size=4)))
    order = data.draw(st.permutations(range(len(shape))))
    stride = [0] * len(shape)
    step = 1
    for axis in order:
        step *= data.draw(st.integers(1, 3))
        stride[axis] = step
        step *= shape[axis]
    check(tensor(shape, tuple(stride), data.draw(st.integers(0, 5)), DTYPES[data.draw(st.sampled_from([1, 2, 4, 8]))]))


@pytest.mark.parametrize(("block", "span"), [(8, 16), (64, 64), (64, 1024), (1 << 20, 4 << 20)])
@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((40, 30), (1, 40)),
        ((40, 30), (100, 1)),
        ((40, 3), (100, 30)),
        ((1000,), (7,)),
        ((5, 6, 7), (1, 5, 30)),
        ((5, 6, 7), (7, 35, 1)),
        ((2, 3, 4, 5), (1, 2, 30, 6)),
        ((30, 1, 30), (1, 900, 30)),
        ((4, 4), (1, 1)),
        ((3, 0, 2), (2, 2, 1)),
        ((), ()),
    ],
)
def test_small_blocks_do_not_change_it(
    monkeypatch: pytest.MonkeyPatch, block: int, span: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    monkeypatch.setattr(torch_views, "BLOCK", block)
    monkeypatch.setattr(torch_views, "GATHERED", block)
    monkeypatch.setattr(torch_views, "SPAN", span)
    check(tensor(shape, stride, 3))


def test_row_major_is_known_in_any_guise() -> None:
    assert is_contiguous(tensor((2, 3), (3, 1)))
    assert is_contiguous(tensor((1, 3), (77, 1)))
    assert is_contiguous(tensor((2, 0), (1, 9)))
    assert is_contiguous(tensor((), ()))
    assert not is_contiguous(tensor((2, 3), (1, 2)))
    assert not is_contiguous(tensor((3,), (2,)))
    assert row_major((2, 3, 4)) == (12, 4, 1)


def test_what_cannot_be_read_so_says_why() -> None:
    assert why_not_row_major(tensor((2, 3), (3, 1))) is None
    assert "stride of 0" in str(why_not_row_major(tensor((1 << 40, 3), (0, 1))))
    assert "16 bytes" in str(why_not_row_major(tensor((2, 3), (1, 2), dtype="complex128")))
    assert why_not_row_major(tensor((2, 3), (3, 1), dtype="complex128")) is None
