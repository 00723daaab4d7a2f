"""Whole files: each tensor in the smallest way that its error allows, and the same bytes however many threads there are."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hatch_mlbundle.errors import KeptError, ModelError, UnsoundResultError
from hatch_mlbundle.models import encodings
from hatch_mlbundle.models.encodings import AsItWas, Cast, Int8
from hatch_mlbundle.models.gates import LADDERS, Policy, Setting, Target, named
from hatch_mlbundle.models.quantized_check import check_quantized
from hatch_mlbundle.models.quantizing import Quantized, best_size, decibels, quantize_file
from hatch_mlbundle.models.restore import restore
from hatch_mlbundle.models.safetensors import Tensor, read_header
from hatch_mlbundle.runtime.weights import PackedFile
from tests.models.safesmith import entry, file_with, read_tensors, weights, write_tensors

Arrays = dict[str, "np.ndarray[Any, Any]"]


def policy(target: Target = "float16", **changes: Any) -> Policy:
    settings: dict[str, Any] = {"min_sqnr": 35.0, "group": 32, "min_count": 4096, "keeps": named(()), "delicate": named(("*position*",))}
    return Policy(target=target, **{**settings, **changes})


def quantize(source: Path, wanted: Policy, *, threads: int = 2, start: Setting | None = None) -> tuple[Path, Quantized]:
    """Quantize into a new file beside the source, and have it checked."""
    target = source.with_name(f"{source.name}.{wanted.target}.{threads}")
    header = read_header(source)
    first = start or LADDERS[wanted.target][0]
    made = quantize_file(source, header, target, wanted, lambda _: first, threads)
    check_quantized(source, header, target, made)
    assert made.size == target.stat().st_size
    assert [path.name for path in source.parent.iterdir() if path.name.endswith(".fresh")] == []
    return target, made


def told(made: Quantized) -> dict[str, tuple[str, str]]:
    return {each.tensor.name: (each.after, each.reason) for each in made.tensors}


def outlier(rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Return weights of which one in each row is so large that a scale for the row leaves the others little."""
    values = weights(rows, columns, seed=7)
    values[:, 0] = 40
    values[:, 1:] *= 0.5
    return values


MIXED: Arrays = {
    "position_ids": np.arange(64, dtype=np.int64)[None],
    "embed.weight": weights(200, 64),
    "position_embeddings.weight": weights(100, 64, seed=1),
    "layer.weight": weights(64, 130, seed=2),
    "outlier.weight": outlier(16, 512),
    "bias": weights(5000, seed=3),
    "tiny": weights(4, 4, seed=4),
    "infinite": np.where(np.arange(8192).reshape(64, 128) == 77, -np.inf, 1).astype(np.float32),
    "huge": weights(64, 64, seed=5, scale=1e6),
    "half": weights(64, 65, seed=6).astype(np.float16),
    "brain": weights(64, 65, seed=6).astype(ml_dtypes.bfloat16),
    "zeros": np.zeros((64, 64), np.float32),
    "empty": np.zeros((0, 9), np.float32),
    "scalar": np.array(1.5, np.float32),
    "flags": np.array([True, False, True]),
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return write_tensors(tmp_path / "model.safetensors", MIXED, {"format": "pt", "note": "\u00e9"})


def test_float16_unless_it_overflows_then_bfloat16_then_as_it_was(mixed: Path) -> None:
    target, made = quantize(mixed, policy())
    loaded = read_tensors(target)
    assert loaded.keys() == MIXED.keys()
    assert read_header(target).metadata == {"format": "pt", "note": "\u00e9"}
    types = {name: array.dtype.name for name, array in loaded.items()}
    assert types == {name: "float16" if array.dtype == np.float32 else array.dtype.name for name, array in MIXED.items()} | {
        "huge": "bfloat16",
        "infinite": "float32",
        "empty": "float32",
    }
    for name, array in MIXED.items():
        assert np.array_equal(loaded[name], array.astype(loaded[name].dtype))
    assert told(made)["huge"] == ("BF16", "F16 overflows")
    assert told(made)["infinite"] == ("F32", "it holds values that are not finite")
    assert told(made)["half"] == ("F16", "only F32 are stored smaller")
    assert told(made)["empty"] == ("F32", "it is empty")
    assert told(made)["bias"] == ("F16", "")


def test_bfloat16_is_never_float16(mixed: Path) -> None:
    target, made = quantize(mixed, policy("bfloat16"))
    assert {each.after for each in made.tensors if each.tensor.dtype == "F32"} == {"BF16", "F32"}
    assert read_tensors(target)["embed.weight"].dtype == ml_dtypes.bfloat16


def test_underflow_counts_as_any_other_error(tmp_path: Path) -> None:
    source = write_tensors(tmp_path / "m", {"small": weights(100, scale=1e-7), "gone": weights(100, scale=1e-20)})
    reasons = told(quantize(source, policy())[1])
    assert reasons["small"][0] == reasons["gone"][0] == "BF16"
    assert "F16 has 0.0 dB" in reasons["gone"][1]


def test_int8_by_row_else_in_groups_else_16_bits_and_what_is_delicate_stays(mixed: Path) -> None:
    target, made = quantize(mixed, policy("int8"))
    assert made.packed
    after = {name: words for name, (words, _) in told(made).items()}
    by_row = {"embed.weight", "layer.weight", "huge", "zeros", "half", "brain"}
    assert {name for name, words in after.items() if words == "I8 by row"} == by_row
    assert told(made)["outlier.weight"][0] == "I8 in groups of 32"
    assert "I8 by row has " in told(made)["outlier.weight"][1]
    kept = {name: reason for name, (words, reason) in told(made).items() if name not in {*by_row, "outlier.weight"}}
    assert kept == {
        "position_ids": "only F32, F16, BF16 are stored smaller",
        "flags": "only F32, F16, BF16 are stored smaller",
        "position_embeddings.weight": "positions and token types are kept",
        "bias": "it has one axis at most",
        "scalar": "it has one axis at most",
        "tiny": "it has fewer than 4096 elements",
        "empty": "it is empty",
        "infinite": "it holds values that are not finite",
    }
    with PackedFile(target) as file:
        assert file.metadata() == {"format": "pt", "note": "\u00e9"}
        for each in made.tensors:
            loaded = file.read(each.tensor.name).reshape(-1).view(np.uint8)
            original = MIXED[each.tensor.name]
            if each.setting == "keep":
                assert loaded.tobytes() == original.tobytes()
            else:
                values = loaded.view(original.dtype).astype(np.float64)
                noise = float(np.sum((values - original.reshape(-1).astype(np.float64)) ** 2))
                assert each.error is not None
                assert noise == pytest.approx(each.error.noise, rel=1e-5)


def test_what_even_groups_cannot_hold_is_cast(tmp_path: Path) -> None:
    values = weights(64, 64) * np.float32(10.0) ** np.random.default_rng(1).uniform(-4, 0, (64, 64)).astype(np.float32)
    source = write_tensors(tmp_path / "m", {"wild": values, "half": values.astype(np.float16), "fine": weights(64, 512)})
    made = told(quantize(source, policy("int8", min_sqnr=43.5))[1])
    assert made["wild"][0] == "F16"
    assert made["wild"][1].startswith("I8 by row has ")
    assert "; I8 in groups of 32 has " in made["wild"][1]
    assert made["half"][0] == "F16"
    assert made["fine"][0] == "I8 in groups of 32"


def test_scales_have_32_bits_where_16_hold_them_badly(tmp_path: Path) -> None:
    source = write_tensors(tmp_path / "m", {"small": outlier(16, 512) * np.float32(1e-6)})
    after, reason = told(quantize(source, policy("int8"))[1])["small"]
    assert after == "I8 in groups of 32 with scales of 32 bits"
    assert reason.endswith("; its scales are no normal numbers in 16 bits")


def test_rows_of_few_elements_are_not_worth_a_scale(tmp_path: Path) -> None:
    source = write_tensors(
        tmp_path / "m", {"narrow": weights(5000, 2), "wide": weights(5000, 5), "half": weights(5000, 2).astype(np.float16)}
    )
    made = told(quantize(source, policy("int8"))[1])
    assert (made["narrow"][0], made["wide"][0], made["half"][0]) == ("F16", "I8 by row", "F16")


@pytest.mark.parametrize("columns", [encodings.ELEMENTS + 37, encodings.ELEMENTS])
def test_a_row_longer_than_a_piece_is_stored_in_groups(columns: int, tmp_path: Path) -> None:
    source = write_tensors(tmp_path / "m", {"long": weights(2, columns)})
    target, made = quantize(source, policy("int8"))
    assert told(made)["long"][0] == ("I8 by row" if columns == encodings.ELEMENTS else "I8 in groups of 32")
    with PackedFile(target) as file:
        noise = float(np.sum((file.read("long").astype(np.float64) - read_tensors(source)["long"]) ** 2))
    error = made.tensors[0].error
    assert error is not None
    assert noise == pytest.approx(error.noise, rel=1e-5)


def test_a_start_further_up_is_where_it_begins(mixed: Path) -> None:
    assert told(quantize(mixed, policy("int8"), start="int8-group")[1])["embed.weight"][0] == "I8 in groups of 32"
    assert told(quantize(mixed, policy("int8"), start="F16", threads=1)[1])["embed.weight"][0] == "F16"


def test_names_may_be_kept(mixed: Path) -> None:
    for target in ("float16", "int8"):
        made = told(quantize(mixed, policy(target, keeps=named(("embed.*", "hu?e"))))[1])
        assert made["embed.weight"] == made["huge"] == ("F32", "its name is among those to keep")


@pytest.mark.parametrize("target", ["float16", "bfloat16", "int8"])
def test_threads_change_no_byte(target: Target, mixed: Path) -> None:
    results = [quantize(mixed, policy(target), threads=threads) for threads in (1, 2, 7)]
    assert len({path.read_bytes() for path, _ in results}) == 1
    assert len({str([each.row() for each in made.tensors]) for _, made in results}) == 1


@pytest.mark.parametrize("target", ["float16", "int8"])
def test_pieces_change_no_byte(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_tensors(tmp_path / "m", {"a": weights(300, 700), "b": weights(7, 7), "c": outlier(9, 4000)})
    whole = quantize(source, policy(target))[0].read_bytes()
    monkeypatch.setattr(encodings, "CHUNK", 4096 * 4)
    monkeypatch.setattr(encodings, "ELEMENTS", 4096)
    assert quantize(source, policy(target), threads=3)[0].read_bytes() == whole


def test_data_that_is_not_aligned_is_read_as_well(tmp_path: Path) -> None:
    values = weights(64, 64)
    entries = {"a": entry("U8", [3], 0, 3), "b": entry("F32", [64, 64], 3, 3 + values.nbytes)}
    source = file_with(tmp_path / "m", entries, b"123" + values.tobytes())
    loaded = read_tensors(quantize(source, policy())[0])
    assert np.array_equal(loaded["b"], values.astype(np.float16))
    assert all(each.start % 2 == 0 for each in read_header(tmp_path / "m.float16.2").tensors if each.dtype == "F16")


def test_tensors_are_aligned_to_their_elements(mixed: Path) -> None:
    target, _ = quantize(mixed, policy())
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "BOOL": 1}
    assert all(each.start % sizes[each.dtype] == 0 for each in read_header(target).tensors)


def test_tied_tensors_are_stored_once_and_stay_equal(tmp_path: Path) -> None:
    tied, bias = weights(100, 64), np.zeros(500, np.float32)
    arrays = {"wte": tied, "other": weights(100, 64, seed=9), "lm_head": tied, "b1": bias, "b2": bias, "t": tied.reshape(64, 100)}
    source = write_tensors(tmp_path / "m", arrays)
    target, made = quantize(source, policy("int8"))
    rows = {each.tensor.name: each.row() for each in made.tensors}
    assert rows["lm_head"]["size"] == [tied.nbytes, 0]
    assert rows["lm_head"]["reason"] == "stored once, with wte"
    assert rows["lm_head"]["sqnr"] == rows["wte"]["sqnr"]
    assert rows["b2"]["size"] == [bias.nbytes, 0]
    assert rows["t"]["size"][1] > 0
    with PackedFile(target) as file:
        assert file.entries["wte"].parts == file.entries["lm_head"].parts
        assert np.array_equal(file.read("wte"), file.read("lm_head"))
    restore(target, tmp_path / "restored")
    restored = read_tensors(tmp_path / "restored")
    assert np.array_equal(restored["wte"], restored["lm_head"])
    plain = read_tensors(quantize(source, policy())[0])
    assert np.array_equal(plain["wte"], plain["lm_head"])


def test_what_is_kept_by_its_name_is_tied_to_nothing_that_is_not(tmp_path: Path) -> None:
    tied = weights(100, 64)
    source = write_tensors(tmp_path / "m", {"wte": tied, "lm_head": tied})
    target, made = quantize(source, policy("int8", keeps=named(("lm_head",))))
    assert {name: words for name, (words, _) in told(made).items()} == {"wte": "I8 by row", "lm_head": "F32"}
    with PackedFile(target) as file:
        assert np.array_equal(file.read("lm_head"), tied)


def test_alike_in_the_middle_is_not_the_same(tmp_path: Path) -> None:
    one = weights(100, 64)
    other = one.copy()
    other[0, 0] += 1
    source = write_tensors(tmp_path / "m", {"one": one, "other": other})
    assert [each.twin for each in quantize(source, policy("int8"))[1].tensors] == [None, None]


def test_a_packed_file_is_restored_as_it_is_loaded(mixed: Path, tmp_path: Path) -> None:
    target, _ = quantize(mixed, policy("int8"))
    restored = tmp_path / "restored.safetensors"
    restore(target, restored)
    assert {each.name: (each.dtype, each.shape) for each in read_header(restored).tensors} == {
        each.name: (each.dtype, each.shape) for each in read_header(mixed).tensors
    }
    with PackedFile(target) as file:
        for name, array in read_tensors(restored).items():
            assert file.read(name).tobytes() == array.tobytes()
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(ModelError, match="is no packed file to be trusted"):
        restore(target, tmp_path / "again")


def test_the_whole_has_an_error_too(mixed: Path) -> None:
    made = quantize(mixed, policy("int8"))[1]
    noise = sum(each.error.noise for each in made.tensors if each.error)
    assert made.error.noise == pytest.approx(noise)
    assert (decibels(made.error) or 0) > 35
    assert made.changed


def test_what_is_expected_at_best_is_what_comes_where_all_goes_well(tmp_path: Path) -> None:
    source = write_tensors(tmp_path / "m", {"a": weights(100, 100), "b": weights(50), "ids": np.arange(9)})
    for target in ("float16", "bfloat16", "int8"):
        wanted = policy(target)
        assert best_size(read_header(source), wanted) == quantize(source, wanted)[1].size


def test_what_a_packed_file_cannot_hold_is_kept(tmp_path: Path) -> None:
    values = weights(64, 64)
    source = file_with(
        tmp_path / "m", {"a": entry("F32", [64, 64], 0, 16384), "b": entry("F4", [4], 16384, 16386)}, values.tobytes() + b"12"
    )
    header = read_header(source)
    with pytest.raises(KeptError, match="cannot be packed"):
        quantize_file(source, header, tmp_path / "out", policy("int8"), lambda _: "int8-row")
    assert best_size(header, policy("int8")) == header.size
    assert quantize(source, policy())[1].tensors[1].after == "F4"


CHANGES: dict[str, Callable[[bytearray, int], None]] = {
    "a bit of the data": lambda content, _: content.__setitem__(-5000, content[-5000] ^ 0x40),
    "a name": lambda content, _: content.__setitem__(slice(0, len(content)), content.replace(b'"layer', b'"layex')),
    "a shape": lambda content, _: content.__setitem__(slice(0, len(content)), content.replace(b"[64,130]", b"[130,64]")),
    "its end": lambda content, _: content.__delitem__(slice(-64, None)),
    "metadata": lambda content, _: content.__setitem__(slice(0, len(content)), content.replace(b'"pt"', b'"tf"')),
}


@pytest.mark.parametrize("target", ["float16", "int8"])
@pytest.mark.parametrize("what", CHANGES)
def test_a_result_that_is_not_what_was_measured_is_found(what: str, target: Target, mixed: Path) -> None:
    path, made = quantize(mixed, policy(target))
    content = bytearray(path.read_bytes())
    CHANGES[what](content, len(content))
    assert bytes(content) != path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(UnsoundResultError):
        check_quantized(mixed, read_header(mixed), path, made)


def test_a_source_that_shrinks_is_told(mixed: Path) -> None:
    header = read_header(mixed)
    os.truncate(mixed, header.size - 1)
    with pytest.raises(ModelError, match="became shorter"):
        quantize_file(mixed, header, mixed.with_name("out"), policy(), lambda _: "F16")


def test_a_limit_on_the_file_size_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A full disk shows as an OSError, which the pipeline tells; the original is never written to."""
    source = write_tensors(tmp_path / "m", {"a": weights(1000, 1000)})
    before = source.read_bytes()
    code = f"""
import resource, signal
from pathlib import Path
from tests.models.test_quantizing import policy, quantize
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    quantize(Path({str(source)!r}), policy())
except OSError as error:
    print(error.errno)
"""
    assert resource.RLIMIT_FSIZE
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "27"
    assert source.read_bytes() == before


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """The peak over a file of 200 MB, above an interpreter with numpy, stays below the 64 MB that are promised."""
    source = tmp_path / "m"
    values = weights(1 << 20).tobytes()
    count = 50
    entries = {f"w{each}": entry("F32", [1024, 1024], each << 22, (each + 1) << 22) for each in range(count)}
    file_with(source, entries)
    with source.open("ab") as stream:
        for _ in range(count):
            stream.write(values)
    for target in ("float16", "int8"):
        code = f"""
import resource, ml_dtypes, numpy
from pathlib import Path
from tests.models.test_quantizing import policy
from hatch_mlbundle.models.quantizing import quantize_file
from hatch_mlbundle.models.safetensors import read_header
import pytest
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = Path({str(source)!r})
made = quantize_file(source, read_header(source), source.with_name({target!r}), policy({target!r}), lambda _: {LADDERS[target][0]!r}, 4)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
        assert int(result.stdout) < 64 * 10**6
        source.with_name(target).unlink()


def test_encodings_say_what_they_store() -> None:
    tensor = Tensor(name="a", dtype="F32", shape=(3, 2, 50), start=0, end=1200)
    assert AsItWas().parts(tensor) == {"data": 1200}
    assert Cast("F16").parts(tensor) == {"data": 600}
    assert Int8().parts(tensor) == {"data": 300, "scale": 12}
    assert Int8(group=32, scale_dtype="F16").parts(tensor) == {"data": 300, "scale": 24}
