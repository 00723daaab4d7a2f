"""Whole runs on real wheels, with a lossy step that goes by what is measured."""

from __future__ import annotations

import json
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.application import optimize, plan_for
from hatch_mlbundle.errors import AccuracyError, ConfigurationError, FindingsError
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.optimizer import Context, Judge, Optimizer, Options
from hatch_mlbundle.session import open_session
from tests.accuracy.rounding import job
from tests.accuracy.tinynet import Blind, Counting, TinyNet, network, read_model, write_model, write_samples
from tests.bundles.wheelsmith import build_wheel

MODEL = "demo/net/model.safetensors"
LONE = "demo/lone.safetensors"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    write_samples(tmp_path / "samples.npz")
    write_model(tmp_path / "network", network())
    weights = (tmp_path / "network").read_bytes()
    return build_wheel(tmp_path, {"demo/__init__.py": b"", MODEL: weights, "demo/net/config.json": b'{"kind": "tinynet"}'})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a file for each time that Counting ran a model."""
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("TINYNET_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def made(tmp_path: Path, wheel: Path, *evaluators: Any, name: str = "out", **settings: Any) -> tuple[Manifest, Path]:
    (tmp_path / name).mkdir(exist_ok=True)
    target = tmp_path / name / wheel.name
    return optimize(job(tmp_path, *evaluators, **settings), wheel, target).manifest, target


def stored(wheel: Path, folder: Path, path: str = MODEL) -> list[str]:
    """Return the dtypes of the layers of a model in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        model = Path(archive.extract(path, folder))
    return [str(tensor.dtype) for tensor in read_model(model).values()]


def search(manifest: Manifest) -> list[dict[str, Any]]:
    (row,) = manifest.details
    rows: list[dict[str, Any]] = row.detail["search"]
    return rows


def accuracy(**settings: Any) -> dict[str, Any]:
    return {"samples": "samples.npz", **settings}


def test_by_tensor_the_most_harmful_layers_are_stored_more_finely(wheel: Path, tmp_path: Path) -> None:
    manifest, small = made(tmp_path, wheel, TinyNet, accuracy=accuracy(**{"at-least": 0.998}))
    dtypes = stored(small, tmp_path)
    assert set(dtypes) == {"float16", "float8_e4m3fn"}
    assert dtypes[2] == "float16"
    rows = search(manifest)
    kept = [row for row in rows if row["keeps"]]
    assert [row["setting"] for row in rows[:2]] == ["F8_E4M3", "F16"]
    assert min(kept, key=lambda row: row["size"])["setting"] == f"F8_E4M3, {dtypes.count('float16')} promoted"
    assert all((row["value"] >= 0.998) is row["keeps"] for row in rows)
    (fewer,) = [row for row in rows if row["setting"] == f"F8_E4M3, {dtypes.count('float16') - 1} promoted".removesuffix(", 0 promoted")]
    assert not fewer["keeps"]
    assert manifest.findings == ()
    assert manifest.configuration["accuracy"]["at-least"] == 0.998
    assert ("tiny-runtime", "1.5") in [(tool.name, tool.version) for tool in manifest.tools]


def test_by_model_all_layers_are_stored_alike(wheel: Path, tmp_path: Path) -> None:
    manifest, small = made(tmp_path, wheel, TinyNet, accuracy=accuracy(search="model", **{"at-least": 0.9995}))
    assert stored(small, tmp_path) == ["float16"] * 6
    assert [(row["setting"], row["keeps"]) for row in search(manifest)] == [("F8_E4M3", False), ("F16", True)]


@pytest.mark.parametrize(("bound", "dtype"), [(0.9, "float8_e4m3fn"), (0.9995, "float32")])
def test_with_the_search_off_a_bound_is_kept_or_the_original_is(wheel: Path, tmp_path: Path, bound: float, dtype: str) -> None:
    manifest, small = made(tmp_path, wheel, TinyNet, accuracy=accuracy(search="off", **{"at-least": bound}))
    assert stored(small, tmp_path) == [dtype] * 6
    (row,) = [row for row in manifest.files if row.path == MODEL]
    assert [change.action for change in row.changes] == ["rewrite" if dtype != "float32" else "keep"]


def test_a_bound_that_nothing_keeps_leaves_the_original(wheel: Path, tmp_path: Path) -> None:
    manifest, small = made(tmp_path, wheel, TinyNet, accuracy=accuracy(**{"metric": "relative-error", "at-most": 0}))
    assert stored(small, tmp_path) == ["float32"] * 6
    (row,) = [row for row in manifest.files if row.path == MODEL]
    assert [(change.action, change.reason) for change in row.changes] == [("keep", "not smaller when converted")]


def test_without_accuracy_nothing_is_measured(wheel: Path, tmp_path: Path) -> None:
    manifest, small = made(tmp_path, wheel, TinyNet)
    assert stored(small, tmp_path) == ["float8_e4m3fn"] * 6
    assert [row.detail for row in manifest.details] == [{}]


def test_a_lone_file_is_measured_as_such(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.npz")
    write_model(tmp_path / "network", network())
    wheel = build_wheel(tmp_path, {LONE: (tmp_path / "network").read_bytes()})
    _, small = made(tmp_path, wheel, TinyNet, accuracy=accuracy(search="model", **{"at-least": 0.9995}))
    assert stored(small, tmp_path, LONE) == ["float16"] * 6


def test_what_nothing_can_run_is_told_once_a_model_and_each_time(wheel: Path, tmp_path: Path) -> None:
    for evaluators in ((), (Blind,)):
        for name in ("cold", "warm"):
            manifest, small = made(tmp_path, wheel, *evaluators, name=name, accuracy=accuracy())
            assert [(each.code, each.path, each.optimizer) for each in manifest.findings] == [("MB751", MODEL, "rounding")]
            assert stored(small, tmp_path) == ["float16"] * 6
            assert [row["value"] for row in search(manifest)] == [None]
    with pytest.raises(FindingsError, match="MB751"):
        made(tmp_path, wheel, strict=True, accuracy=accuracy())


def test_an_evaluator_that_crashes_leaves_the_original_and_says_so(wheel: Path, tmp_path: Path) -> None:
    class Crashing(TinyNet):
        name = "local"

    manifest, small = made(tmp_path, wheel, Crashing, accuracy=accuracy())
    assert stored(small, tmp_path) == ["float32"] * 6
    ((code, message),) = [(each.code, each.message) for each in manifest.findings]
    assert code == "MB102"
    assert message.startswith("plugin demo: failed: evaluator local: AttributeError: ")
    assert message.endswith("the original stays")


def test_results_are_kept_and_nothing_is_run_the_second_time(wheel: Path, tmp_path: Path, runs: Path) -> None:
    first = made(tmp_path, wheel, Counting, name="first", accuracy=accuracy())
    count = len(list(runs.iterdir()))
    assert count > 2
    second = made(tmp_path, wheel, Counting, name="second", accuracy=accuracy())
    (tmp_path / "more").mkdir()
    other = build_wheel(tmp_path / "more", {**contents(wheel), "demo/more.py": b"more = 1\n"})
    pieces = made(tmp_path, other, Counting, name="pieces", accuracy=accuracy())
    assert len(list(runs.iterdir())) == count
    assert first[1].read_bytes() == second[1].read_bytes()
    assert first[0] == second[0]
    assert first[0].details == pieces[0].details


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "dist-info" not in name}


def test_another_question_is_asked_anew(wheel: Path, tmp_path: Path, runs: Path) -> None:
    class Newer(Counting):
        version = "2"

    Newer.__qualname__ = "Counting"  # the worker finds it by this name
    Newer.__module__ = Counting.__module__
    counts = []
    for evaluator, settings in ((Counting, {}), (Counting, {"at-least": 0.99}), (Counting, {"metric": "top-1"}), (Newer, {})):
        made(tmp_path, wheel, evaluator, accuracy=accuracy(**settings))
        counts.append(len(list(runs.iterdir())))
    write_samples(tmp_path / "samples.npz", seed=11)
    made(tmp_path, wheel, Counting, accuracy=accuracy())
    counts.append(len(list(runs.iterdir())))
    assert counts == sorted(set(counts))


COUNTED = "import os, sys, tempfile; tempfile.mkstemp(dir=sys.argv[2]); print(os.path.getsize(sys.argv[1] + '/model.safetensors'))"


def test_what_a_command_measures_is_never_kept(wheel: Path, tmp_path: Path, runs: Path) -> None:
    command = [sys.executable, "-c", COUNTED, "{model}", "{project}/runs"]
    counts = []
    for name in ("first", "second"):
        manifest, _ = made(tmp_path, wheel, name=name, accuracy={"command": command, "at-least": 60_000})
        counts.append(len(list(runs.iterdir())))
        assert {row["metric"] for row in search(manifest)} == {"command"}
    assert counts[1] == 2 * counts[0] > 0
    sizes = [row["size"] for row in search(manifest) if row["keeps"]]
    assert min(sizes) >= 60_000
    assert min(sizes) - 60_000 < 96 * 96


def test_faults_are_told_before_any_work(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(AccuracyError, match=r"^none\.npz: cannot be used as samples: No such file or directory$"):
        job(tmp_path, TinyNet, accuracy={"samples": "none.npz"})
    with pytest.raises(ConfigurationError, match="there is no evaluator 'onnx'; there is tinynet"):
        job(tmp_path, TinyNet, accuracy=accuracy(evaluator="onnx"))

    class Broken(TinyNet):
        def __init__(self) -> None:
            raise OSError("no\ngood")

    (finding,) = job(tmp_path, Broken, accuracy=accuracy()).findings
    told = "plugin demo: cannot be set up (OSError: no good); its evaluator 'tinynet' was left out"
    assert (finding.code, finding.message) == ("MB109", told)
    assert job(tmp_path, Broken, accuracy={"command": ["x", "{model}"], "at-least": 1}).inquiry is not None


def test_accuracy_without_a_lossy_step_is_told_and_its_samples_are_not_read(wheel: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"optimizers": ["exclude"], "accuracy": {"samples": "none.npz"}}
    manifest, _ = made(tmp_path, wheel, **settings)
    assert [each.code for each in manifest.findings] == ["MB752"]
    assert [each.code for each in plan_for(job(tmp_path, **settings), wheel).findings] == ["MB752"]


def test_a_lossless_step_has_no_judge(wheel: Path, tmp_path: Path) -> None:
    seen = []

    class Lossless(Optimizer[Options]):
        name = "lossless"
        version = "1"

        def plan(self, bundle: Any, context: Context) -> list[Any]:
            seen.append(context.judge)
            return []

    class Lossy(Lossless):
        name = "lossy"
        lossless = False

    settings = {"optimizers": ["lossless", "lossy"], "accuracy": accuracy()}
    optimize(job(tmp_path, TinyNet, steps=(Lossless, Lossy), **settings), wheel, tmp_path / "out.whl")
    assert [each is None for each in seen] == [True, False]
    identities = [json.dumps(stage.identity) for stage in job(tmp_path, TinyNet, steps=(Lossless, Lossy), **settings).stages]
    assert ["tinynet" in each for each in identities] == [False, True]


def test_a_build_that_is_given_up_ends_with_the_measurement_at_hand(wheel: Path, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); print(1)"
    table = accuracy_by_command(program)
    model = tmp_path / "network"

    def search(judge: Judge) -> None:
        for _ in range(50):
            judge.measure(model, model)

    with suppress(KeyboardInterrupt), open_session(job(tmp_path, accuracy=table), wheel, None) as session:
        assert session.services.judge
        found = session.services.pool.submit(search, session.services.judge)
        while not (tmp_path / "runs").exists():
            assert not found.done()
        raise KeyboardInterrupt
    with pytest.raises(AccuracyError, match="given up"):
        found.result(timeout=60)
    assert len((tmp_path / "runs").read_text()) < 10


def accuracy_by_command(program: str) -> dict[str, Any]:
    return {"command": [sys.executable, "-c", program, "{model}"], "at-least": 1}
