"""A wheel with any bytes wrong is read or refused: nothing else comes out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.errors import ArtifactError
from tests.bundles.wheelsmith import FILE_NAME, METADATA, Unseekable, build_wheel

FILES = {"demo/__init__.py": b"answer = 42\n" * 9, "demo/data.bin": bytes(range(90))}
BOUNDED = settings(max_examples=400, deadline=None, database=None)
CHANGES = st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module", params=["seekable", "streamed"])
def wheel(request: pytest.FixtureRequest, folder: Path) -> bytes:
    if request.param == "seekable":
        return build_wheel(folder, FILES).read_bytes()
    stream = Unseekable()
    build_wheel(folder, FILES, metadata=METADATA, stream=stream)
    return bytes(stream.data)


def read(folder: Path, data: bytes) -> None:
    path = folder / FILE_NAME
    path.write_bytes(data)
    with suppress(ArtifactError), WheelSource.open(path) as source:
        bundle = source.scan(1)
        assert all(len(file.read()) == file.size for file in bundle.values())
        assert sum(source.compressed_sizes.values()) + source.structure_size == len(data)


@BOUNDED
@given(changes=CHANGES)
def test_overwritten_bytes(folder: Path, wheel: bytes, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(wheel)
    for position, replacement in changes:
        start = position % len(data)
        data[start : start + len(replacement)] = replacement
    read(folder, bytes(data))


@BOUNDED
@given(start=st.integers(0), length=st.integers(0, 200), inserted=st.binary(max_size=30))
def test_bytes_cut_out_and_put_in(folder: Path, wheel: bytes, start: int, length: int, inserted: bytes) -> None:
    start %= len(wheel) + 1
    read(folder, wheel[:start] + inserted + wheel[start + length :])


def test_each_bit_of_the_headers_flipped(folder: Path, wheel: bytes) -> None:
    directory = wheel.index(b"PK\x01\x02")
    for position in [*range(60), *range(directory, directory + 120), *range(len(wheel) - 22, len(wheel))]:
        for bit in (0, 3, 7):
            data = bytearray(wheel)
            data[position] ^= 1 << bit
            read(folder, bytes(data))
