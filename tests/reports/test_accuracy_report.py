from __future__ import annotations

from dataclasses import replace
from typing import Any

from hatch_mlbundle.manifest import DetailRow, FileRow, FileState, Manifest, Saved, StepRow
from hatch_mlbundle.reports.accuracy import models_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text, summary
from tests.reports.test_terminal import manifest


def with_details(*details: tuple[str, dict[str, Any]], files: tuple[FileRow, ...] = ()) -> Manifest:
    saved = Saved(installed=0, compressed=0)
    step = StepRow(optimizer="quantize", distribution="d", version="1", lossless=False, options={}, changes={}, saved=saved)
    rows = tuple(DetailRow(step=1, path=path, detail=detail) for path, detail in details)
    plain = manifest()
    return replace(plain, steps=(*plain.steps, step), details=rows, files=(*plain.files, *files))


def lines(manifest: Manifest) -> list[str]:
    report = models_report(manifest)
    assert report is not None
    text = as_text(report).splitlines()
    assert max(map(len, text)) <= WIDTH
    return text


def tensor(before: int, after: int) -> dict[str, Any]:
    return {"name": "w", "shape": [before // 4], "before": "F32", "after": "I8 by row", "size": [before, after], "sqnr": 41.2}


def trial(setting: str, size: int, value: float | None, *, keeps: bool, worst: float | None = None) -> dict[str, Any]:
    return {"setting": setting, "size": size, "metric": "cosine", "value": value, "worst": worst, "keeps": keeps}


TRIALS = [
    trial("I8 by row", 23_000_000, 0.998123, keeps=False, worst=0.991234),
    trial("I8 in groups of 32", 26_000_000, 0.99991, keeps=True, worst=0.9991),
    trial("I8 by row, 3 tensors I8 in groups of 32", 24_000_000, 0.99951, keeps=True, worst=0.996),
]
WEIGHTS = {"setting": "int8", "sqnr": 41.23, "tensors": [tensor(90_000_000, 23_000_000), tensor(900_000, 600_000)]}


def test_a_model_without_a_search_is_one_line() -> None:
    assert lines(with_details(("m/model.safetensors", WEIGHTS))) == [
        "quantize: m/model.safetensors int8, 90.9 MB -> 23.6 MB, SQNR 41.2 dB",
    ]


def test_a_search_is_a_table_of_size_against_error() -> None:
    first, header, *rows = lines(with_details(("m/model.safetensors", {**WEIGHTS, "search": TRIALS})))
    assert first.startswith("quantize: m/model.safetensors")
    assert header.split() == ["setting", "size", "saved", "cosine", "worst"]
    cells = [" ".join(row.split()) for row in rows]
    assert cells[0] == "I8 by row 23.0 MB 74.7 % 0.998123 0.991234"
    assert cells[1].startswith("I8 by row, 3 tensors")
    assert "24.0 MB 73.6 % 0.999510 0.996000 taken" in cells[1]
    assert cells[-1] == "I8 in groups of 32 26.0 MB 71.4 % 0.999910 0.999100 within"


def test_files_that_were_searched_for_together_have_one_table() -> None:
    shards = [(f"m/model-{number}.safetensors", {**WEIGHTS, "search": TRIALS}) for number in range(3)]
    other = ("n/model.safetensors", {**WEIGHTS, "search": TRIALS[:2]})
    text = lines(with_details(*shards, other))
    assert [line.split()[0] for line in text].count("setting") == 2
    assert "m/model-0.safetensors and 2 more int8, 273 MB -> 70.8 MB" in " ".join(text)


def test_what_was_not_measured_or_is_no_number_is_told_so() -> None:
    unmeasured = {**trial("F16", 45, None, keeps=False), "metric": None}
    assert lines(with_details(("m", {**WEIGHTS, "search": [unmeasured]})))[-1].split()[-1] == "-"
    infinite = [trial("F16", 45, None, keeps=False), trial("BF16", 45, 0.9999, keeps=True, worst=0.99)]
    text = lines(with_details(("m", {**WEIGHTS, "search": infinite})))
    assert [("not finite" in line, "taken" in line) for line in text[-2:]] == [(False, True), (True, False)]


def test_sizes_are_those_of_the_file_where_the_step_says_none() -> None:
    states = [FileState(size=size, compressed=None, sha256="") for size in (4_000, 1_000)]
    file = FileRow(path="m.onnx", kind="model", owner="m", before=states[0], after=states[1])
    assert lines(with_details(("m.onnx", {"dtype": "int8"}), files=(file,))) == ["quantize: m.onnx int8, 4.00 kB -> 1.00 kB"]
    assert lines(with_details(("m.pt", {"size": [400, 100]}))) == ["quantize: m.pt, 400 B -> 100 B"]
    assert models_report(with_details(("gone", {"note": "x"}))) is None


def test_libraries_are_no_models_and_names_break_no_line() -> None:
    states = [FileState(size=size, compressed=None, sha256="") for size in (4_000, 1_000)]
    file = FileRow(path="libx.so", kind="elf", owner="x", before=states[0], after=states[1])
    assert models_report(with_details(("libx.so", {"kept": {"sm_80": 1}}), files=(file,))) is None
    assert lines(with_details(("m\n\x1b[2J.pt", {"size": [400, 100]}))) == [r"quantize: m\n\x1b[2J.pt, 400 B -> 100 B"]


def test_of_many_models_the_first_are_told() -> None:
    text = lines(with_details(*((f"m/{number}", WEIGHTS) for number in range(14))))
    assert len(text) == 11
    assert text[-1] == "[4 other models]"


def test_the_summary_tells_of_models() -> None:
    text = as_text(summary(with_details(("m/model.safetensors", {**WEIGHTS, "search": TRIALS}))))
    assert "worst" in text
    assert models_report(manifest()) is None
    assert "SQNR" not in as_text(summary(manifest()))
