"""The machine that reads torch's pickles: what it understands, and that nothing makes it run anything."""

from __future__ import annotations

import pickle
import pickletools
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.models import torch_pickle
from hatch_mlbundle.models.torch_checkpoint import open_checkpoint
from hatch_mlbundle.models.torch_pickle import DEEPEST, read_pickle
from hatch_mlbundle.models.torch_pickler import write_pickle
from hatch_mlbundle.models.torch_rebuild import FaultError, ForeignObjectError
from hatch_mlbundle.models.torch_shrink import check_shrunk, convert, examine, shrink
from hatch_mlbundle.models.torch_values import Call, Name, Ordered, Parameter, Tensor
from tests.models.torchsmith import ORDERED, Global, Made, Storage, archive, ordered, parameter, pickled, tensor, view

REAL = Path(__file__).with_name("checkpoint_of_torch.pt")


def read(value: Any) -> Any:
    return read_pickle(pickled(value)[0])


def test_plain_values_are_themselves() -> None:
    value = {"a": [1, -1, 255, 256, 65536, -(2**31), 2**40, 2**63, True, False, None], "b": (1.5, ("é", "\ud800"), ()), 3: {}}
    assert read(value) == value


def test_tensors_know_their_storage_and_geometry() -> None:
    storage = Storage(bytes(400), location="cuda:0")
    whole, column = read([view(storage, (10, 10)), view(storage, (10, 2), (10, 1), 3, metadata={"conj": True})])
    assert (whole.dtype, whole.shape, whole.stride, whole.byte_range) == ("float32", (10, 10), (10, 1), (0, 400))
    assert (column.offset, column.count, column.extent, column.byte_range, column.metadata) == (3, 20, 92, (12, 380), {"conj": True})
    assert (whole.storage, whole.storage.location, whole.storage.nbytes) == (column.storage, "cuda:0", 400)


def test_the_third_kind_of_tensor_says_its_dtype_itself() -> None:
    found = read(view(Storage(bytes(8), untyped=True), (8,), dtype="float8_e4m3fn"))
    assert (found.dtype, found.storage.nbytes, found.nbytes) == ("float8_e4m3fn", 8, 8)


def test_ordered_dicts_keep_their_order_and_attributes() -> None:
    found = read(ordered({"b": tensor(2), "a": parameter(tensor(1))}, _metadata=ordered({"": {"version": 1}})))
    assert isinstance(found, Ordered)
    assert list(found) == ["b", "a"]
    assert found.attributes == {"_metadata": {"": {"version": 1}}}
    assert isinstance(found["a"], Parameter)
    assert found["a"].requires_grad


def test_harmless_calls_are_kept_as_calls() -> None:
    size = Made(Global("torch", "Size"), ((1, 2),))
    found = read({"size": size, "dtype": Global("torch", "float16")})
    assert found["dtype"] == Name("torch", "float16")
    assert isinstance(found["size"], Call)
    assert (found["size"].function, found["size"].arguments) == (Name("torch", "Size"), ((1, 2),))


def test_what_is_written_again_reads_the_same_and_what_was_one_object_stays_one() -> None:
    shared, weights = [1], tensor(3)
    value = {
        "a": shared,
        "b": shared,
        "w": weights,
        "tied": weights,
        "long": [f"text {number}" for number in range(400)],
        "t": (1, 2, 3, 4),
    }
    once = write_pickle(read(value))
    again = read_pickle(once)
    assert again["a"] is again["b"]
    assert again["w"] is again["tied"]
    assert again["long"] == value["long"]
    assert write_pickle(again) == once
    assert {code.name for code, _, _ in pickletools.genops(once)} >= {"LONG_BINPUT", "BINGET", "BINPERSID"}


def test_plain_values_written_again_are_what_pickle_reads() -> None:
    value = {
        "a": [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**63), 2**64 - 1, True, None, 0.1],
        "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), "é"),
    }
    assert pickle.loads(write_pickle(read(value))) == value


def evil(path: Path) -> dict[str, bytes]:
    """Return pickles that make a careless reader create `path`."""
    command = f"open({str(path)!r}, 'w').close()"
    shell = f"touch {path}"

    class Reduced:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return exec, (command,)

    class InState:
        def __reduce__(self) -> tuple[Any, ...]:
            return dict, (), {"x": Reduced()}

    text = struct.pack("<I", len(shell)) + shell.encode()
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return {
        "reduce": pickle.dumps(Reduced(), 2),
        "reduce in protocol 4 (STACK_GLOBAL)": pickle.dumps(Reduced(), 4),
        "reduce in protocol 0": pickle.dumps(Reduced(), 0),
        "nested in a state": pickle.dumps(InState(), 2),
        "nested in a dict": pickle.dumps({"a": [1, (Reduced(),)]}, 2),
        "GLOBAL": b"\x80\x02cos\nsystem\nX" + text + b"\x85R.",
        "INST": b"(X" + text + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nX" + text + b"o.",
        "NEWOBJ": b"\x80\x02cos\nsystem\nX" + text + b"\x85\x81.",
        "NEWOBJ of torch's": b"\x80\x02ctorch._utils\n_rebuild_parameter\n)\x81.",
        "NEWOBJ_EX": b"\x80\x04cos\nsystem\nX" + text + b"\x85}\x92.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT4": b"\x80\x02\x84\x01\0\0\0.",
        "copyreg": b"\x80\x02ccopyreg\n_reconstructor\ncos\nsystem\nc__builtin__\nobject\nN\x87R.",
        "getattr": b"\x80\x02c__builtin__\ngetattr\ncos\n__dict__\n\x85R.",
        "dotted name": b"\x80\x02ctorch\n_utils.os.system\nX" + text + b"\x85R.",
        "module of torch's": b"\x80\x02ctorch.serialization\nos.system\nX" + text + b"\x85R.",
        "BUILD on a function": b"\x80\x02" + rebuild + b"}X\x08\0\0\0__code__K\x01sb.",
        "BUILD on a dict": b"\x80\x02}}X\x09\0\0\0__class__cos\nsystem\nsb.",
        "BUILD with __setstate__": b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\0\0\0__setstate__cos\nsystem\nsbX" + text + b"b.",
        "BUILD with slots": b"\x80\x02ccollections\nOrderedDict\n)RN}X\x09\0\0\0__class__Ns\x86b.",
        "persistent id": b"\x80\x02cos\nsystem\nX" + text + b"\x85RQ.",
        "persistent id in text": b"\x80\x02Pos.system\n.",
        "call of a value": b"\x80\x02X" + text + b")R.",
        "call without a tuple": b"\x80\x02ccollections\nOrderedDict\n]R.",
        "type as hooks": b"\x80\x02" + rebuild + b"(NK\0))\x89cos\nsystem\ntR.",
    }


def test_evil_pickles_are_refused_and_nothing_of_them_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name, data in evil(mark).items():
        with pytest.raises((FaultError, ForeignObjectError)):
            read_pickle(data)
        assert not mark.exists(), name
        path = tmp_path / "model.pt"
        path.write_bytes(archive(data, {}))
        with pytest.raises(MlbundleError) as told, open_checkpoint(path):
            pass
        assert len(str(told.value).splitlines()) == 1, name
        assert not mark.exists(), name


def test_the_evil_pickles_do_run_where_pickle_reads_them(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    ran = []
    for name, data in evil(tmp_path / "ran").items():
        subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({data!r})"], capture_output=True, check=False, cwd=tmp_path)
        if (tmp_path / "ran").exists():
            (tmp_path / "ran").unlink()
            ran.append(name)
    assert {"reduce", "GLOBAL", "INST", "OBJ", "nested in a dict", "persistent id", "reduce in protocol 4 (STACK_GLOBAL)"} <= set(ran)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "cut short"),
        (b"\x80\x02", "cut short"),
        (b"\x80\x02}", "cut short"),
        (b"\x80\x02.", "does not end"),
        (b"\x80\x02}}.", "does not end"),
        (b"\x80\x02}.more", "does not end"),
        (b"\x80\x02}(.", "does not end"),
        (b"\x80\x02t.", "damaged"),
        (b"\x80\x02s.", "damaged"),
        (b"\x80\x02\x87.", "damaged"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02q\x07.", "damaged"),
        (b"\x80\x02}Na.", "appends"),
        (b"\x80\x02](K\x01u.", "fills"),
        (b"\x80\x02}(K\x01u.", "fills"),
        (b"\x80\x02X\xff\xff\xff\xff.", "cut short"),
        (b"\x80\x02X\x01\0\0\0\xff.", "damaged"),
        (b"\x80\x02\x8a\xff" + bytes(255) + b".", "number of 255 bytes"),
        (b"\x80\x02c" + b"a" * 5000, "name without an end"),
        (b"\x80\x02]q\0h\0a.", "hold themselves"),
        (b"\x80\x02}q\0X\x01\0\0\0ah\0s.", "hold themselves"),
        (b"\x80\x02" + b")" + b"\x85" * 200 + b".", "nested"),
    ],
)
def test_damaged_pickles_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(FaultError, match=problem):
        read_pickle(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x80\x04}.", "protocol 4"),
        (b"\x80\x02}\x95.", "instruction"),
        (b"\x80\x02}()\x85K\x01u.", "neither strings nor whole numbers"),
        (b"\x80\x02}G" + struct.pack(">d", 1) + b"K\x01s.", "neither strings nor whole numbers"),
        (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.", "_rebuild_qtensor"),
        (b"\x80\x02ctorch\nQInt8Storage\n.", "QInt8Storage"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "bare class"),
        (b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1tQ.", "bare class or storage"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n.", "numpy.core.multiarray.scalar"),
    ],
)
def test_what_torch_would_not_take_as_weights_either_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ForeignObjectError, match=problem):
        read_pickle(data)


def made(*arguments: Any, name: str = "_rebuild_tensor_v2") -> Made:
    return Made(Global("torch._utils", name), arguments)


HOOKS = Made(ORDERED, ())
ABSURD: dict[str, Made] = {
    "too few arguments": made(Storage(bytes(4)), 0, (1,)),
    "no storage": made(None, 0, (1,), (1,), False, HOOKS),
    "past the end": made(Storage(bytes(4)), 1, (1,), (1,), False, HOOKS),
    "huge stride": made(Storage(bytes(8)), 0, (2,), (2**62,), False, HOOKS),
    "huge shape": made(Storage(bytes(8)), 0, (2**60,) * 8, (1,) * 8, False, HOOKS),
    "negative stride": made(Storage(bytes(8)), 1, (2,), (-1,), False, HOOKS),
    "negative offset": made(Storage(bytes(8)), -1, (1,), (1,), False, HOOKS),
    "shape and stride of two lengths": made(Storage(bytes(8)), 0, (2,), (1, 1), False, HOOKS),
    "shape that is no tuple": made(Storage(bytes(8)), 0, [2], (1,), False, HOOKS),
    "shape of booleans": made(Storage(bytes(8)), 0, (True,), (1,), False, HOOKS),
    "hooks": made(Storage(bytes(8)), 0, (1,), (1,), False, ordered({"hook": 1})),
    "metadata": made(Storage(bytes(8)), 0, (1,), (1,), False, HOOKS, {"conj": [1]}),
    "dtype of another kind": made(Storage(bytes(8)), 0, (1,), (1,), False, HOOKS, Global("torch", "float32"), name="_rebuild_tensor_v3"),
    "parameter of nothing": made(None, True, HOOKS, name="_rebuild_parameter"),
    "negative size of a storage": view(Storage(bytes(8), declared=-1), (1,)),
    "OrderedDict of something": Made(ORDERED, ([1],)),
    "65 axes": made(Storage(bytes(8)), 0, (1,) * 65, (1,) * 65, False, HOOKS),
}


@pytest.mark.parametrize("name", ABSURD)
def test_tensors_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises((FaultError, ForeignObjectError)):
        read(ABSURD[name])


TAKEN = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00))\x89"
)


def test_what_a_tensor_was_made_of_is_not_changed_afterwards() -> None:
    hooks, fill = b"ccollections\nOrderedDict\n)Rq\x01", b"X\x01\x00\x00\x00aK\x05"
    assert read_pickle(b"\x80\x02" + TAKEN + hooks + b"tR.").shape == ()
    for change in (fill + b"s", b"}" + fill + b"sb"):
        with pytest.raises(FaultError):
            read_pickle(b"\x80\x02" + TAKEN + hooks + b"tRh\x01" + change + b"\x86.")
    tensor, filled = read_pickle(b"\x80\x02" + TAKEN + hooks + b"}q\x02tRh\x02" + fill + b"s\x86.")
    assert (tensor.metadata or {}, filled) == ({}, {"a": 5})


def test_a_pickle_cannot_ask_for_more_and_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_pickle, "MOST_OPERATIONS", 1000)
    with pytest.raises(FaultError, match="more than 1000"):
        read_pickle(b"\x80\x02" + b"]" * 2000)


def test_what_doubles_at_every_level_takes_no_time() -> None:
    """A tuple of twice the one before, 90 times: as a tree it has 2^90 leaves."""
    steps = b"".join(b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(DEEPEST - 10))
    value = read_pickle(b"\x80\x02K\x07\x85q\x00" + steps + b".")
    assert value[0] is value[1]
    assert len(write_pickle(value)) < 2000


def test_a_file_of_real_torch_is_understood() -> None:
    with open_checkpoint(REAL) as found:
        assert list(found.value) == ["epoch", "model", "optimizer", "weight", "view", "column"]
        assert isinstance(found.value["weight"], Parameter)
        assert found.value["model"].attributes["_metadata"][""] == {"version": 1}
        column = found.value["column"]
        assert isinstance(column, Tensor)
        assert (column.shape, column.stride, column.offset) == (((12, 2)), (8, 1), 35)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_pickles_are_read_or_refused(data: st.DataObject) -> None:
    with open_checkpoint(REAL) as found:
        original = found.archive.pickle
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "insert"]))
        piece = data.draw(st.binary(min_size=1, max_size=6))
        mutated[at : at + (0 if change == "insert" else len(piece))] = b"" if change == "cut" else piece
        mutated = mutated or bytearray(b".")
    with suppress(FaultError, ForeignObjectError):
        write_pickle(read_pickle(bytes(mutated)))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_mutated_files_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    mutated = bytearray(REAL.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.pt"
    path.write_bytes(mutated[: data.draw(st.one_of(st.just(len(mutated)), st.integers(0, len(mutated))))])
    all_that_is_done(path)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_sound_archives_of_mutated_pickles_are_made_smaller_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The numbers of shapes, strides and offsets are what a mutation is likeliest to leave possible."""
    with open_checkpoint(REAL) as found:
        mutated, storages = bytearray(found.archive.pickle), {key: b"".join(found.archive.chunks(key)) for key in found.archive.storages}
    numbers = [at for code, _, at in pickletools.genops(bytes(mutated)) if code.name == "BININT1" and at is not None]
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(st.sampled_from(numbers)) + 1] = data.draw(st.one_of(st.integers(0, 4), st.integers(0, 255)))
    path = tmp_path_factory.getbasetemp() / "numbers.pt"
    path.write_bytes(archive(bytes(mutated), storages))
    all_that_is_done(path)


def all_that_is_done(path: Path) -> None:
    """Do everything with a file that may be damaged: whatever comes of it, nothing but our own errors may."""
    facts = examine(path, drop_training_state=True)
    assert all(len(str(facts[key]).splitlines()) == 1 for key in ("broken", "foreign", "keep") if key in facts)
    result = path.with_suffix(".new")
    with suppress(MlbundleError):
        shrink(path, result, drop_training_state=True)
        check_shrunk(path, result, drop_training_state=True)
        assert "saves" in facts
    with suppress(MlbundleError):
        convert(path, result, drop_training_state=False)
        assert "saves" in facts
