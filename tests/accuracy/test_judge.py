from __future__ import annotations

import json
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.accuracy.evaluator import Samples
from hatch_mlbundle.accuracy.judge import Inquiry, ModelJudge, inquire
from hatch_mlbundle.accuracy.stage import candidate_folder
from hatch_mlbundle.accuracy_settings import AccuracySettings
from hatch_mlbundle.errors import AccuracyError, ConfigurationError
from hatch_mlbundle.optimizer import Measured
from tests.accuracy.tinynet import Blind, Counting, Odd, Raising, TinyNet, network, write_model, write_samples


@pytest.fixture
def original(tmp_path: Path) -> Path:
    write_model(tmp_path / "models/original.safetensors", network())
    return tmp_path / "models/original.safetensors"


def changed(original: Path, name: str, dtype: str = "F16") -> Path:
    import ml_dtypes
    import numpy as np

    kind = {"F16": np.float16, "F8": ml_dtypes.float8_e4m3fn, "F32": np.float32}[dtype]
    path = original.with_name(f"{name}.safetensors")
    write_model(path, {name: tensor.astype(kind) for name, tensor in network().items()})
    return path


def asked(tmp_path: Path, *evaluators: Any, **settings: Any) -> Inquiry:
    samples = {} if "command" in settings else {"samples": "samples.npz"}
    if samples and not (tmp_path / "samples.npz").exists():
        write_samples(tmp_path / "samples.npz")
    made = [each() for each in evaluators or (TinyNet,)]
    return inquire(AccuracySettings(**{**samples, **settings}), {each.name: each for each in made}, tmp_path, "tool.mlbundle.accuracy")


def judge(tmp_path: Path, *evaluators: Any, **settings: Any) -> ModelJudge:
    work = tmp_path / f"work-{len(list(tmp_path.glob('work-*')))}"
    work.mkdir()
    return ModelJudge(asked(tmp_path, *evaluators, **settings), work)


def measured_by(judge: ModelJudge, original: Path, candidate: Path) -> Measured:
    measured = judge.measure(original, candidate)
    assert measured is not None
    return measured


def fault_of(judge: ModelJudge, original: Path, candidate: Path) -> str:
    with pytest.raises(AccuracyError) as caught:
        judge.measure(original, candidate)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_coarser_model_is_further_from_the_original(original: Path, tmp_path: Path) -> None:
    by_cosine = judge(tmp_path)
    models = (original, changed(original, "half"), changed(original, "eighth", "F8"))
    same, half, eighth = (measured_by(by_cosine, original, each) for each in models)
    assert (same.metric, same.value, same.worst, same.keeps) == ("cosine", pytest.approx(1), pytest.approx(1), True)
    assert eighth.value < 0.999 < 0.9999 < half.value < 1
    assert (half.keeps, eighth.keeps) == (True, False)
    assert eighth.worst is not None
    assert eighth.worst < eighth.value


@pytest.mark.parametrize("metric", ["cosine", "relative-error", "top-1"])
def test_every_metric_is_that_of_the_outputs_computed_here(original: Path, tmp_path: Path, metric: str) -> None:
    """The same outputs, computed in this process without any of the machinery, and compared by numpy alone."""
    import numpy as np

    candidate = changed(original, "eighth", "F8")
    with np.load(write_samples(tmp_path / "samples.npz", count=200)) as archive:
        rows = [{"x": each} for each in archive["x"]]
    before, after = ([row["state"] for row in TinyNet().outputs(model, Samples(rows=rows))] for model in (original, candidate))
    pairs = list(zip(before, after, strict=True))
    expected = {
        "cosine": np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]),
        "relative-error": max(np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in pairs),
        "top-1": np.mean([np.argmax(a) == np.argmax(b) for a, b in pairs]),
    }[metric]
    measured = measured_by(judge(tmp_path, metric=metric, output="state"), original, candidate)
    assert measured.value == pytest.approx(expected, rel=1e-5)
    assert measured.value not in (0.0, 1.0)


def test_the_worst_sample_can_be_what_counts(original: Path, tmp_path: Path) -> None:
    candidate = changed(original, "eighth", "F8")
    mean = measured_by(judge(tmp_path, at_least=0.5), original, candidate)
    assert mean.worst is not None
    between = (mean.value + mean.worst) / 2
    for reduce, keeps in (("mean", True), ("worst", False)):
        measured = measured_by(judge(tmp_path, at_least=between, reduce=reduce), original, candidate)
        assert measured.keeps is keeps


def test_what_nothing_can_run_is_not_measured(original: Path, tmp_path: Path) -> None:
    assert judge(tmp_path, Blind).measure(original, original) is None


def test_of_several_evaluators_the_first_by_name_that_fits_runs_the_model(original: Path, tmp_path: Path) -> None:
    assert [each.name for each in asked(tmp_path, TinyNet, Blind, Odd).evaluators] == ["blind", "odd", "tinynet"]
    candidate = changed(original, "raise-x")
    assert "evaluator odd" in fault_of(judge(tmp_path, TinyNet, Blind, Odd), original, candidate)
    measured = measured_by(judge(tmp_path, TinyNet, Blind, Odd, evaluator="tinynet"), original, candidate)
    assert measured.keeps


def test_an_evaluator_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"tool\.mlbundle\.accuracy\.evaluator: there is no evaluator 'tiny'; there is odd, tinynet"
    ):
        asked(tmp_path, TinyNet, Odd, evaluator="tiny")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("segfault", "evaluator odd: it was killed by SIGSEGV"),
        ("exit", "evaluator odd: SystemExit: 3"),
        ("raise", "evaluator odd: KeyError: \"no input\\n named 'y'\""),
        ("few", "evaluator odd: ValueError: the evaluator gave outputs for 11 of 12 samples"),
        ("many", "evaluator odd: ValueError: the evaluator gave outputs for more than the 12 samples"),
        ("objects", "evaluator odd: ValueError: output 'state' holds object, no numbers"),
        ("shape", "the changed model cannot be compared with the original: output 'state' has the shape [95], the original's [96]"),
        ("other", "the changed model cannot be compared with the original: its outputs are 'hidden', the original's 'state', 'logits'"),
        ("none", "the changed model cannot be compared with the original: its outputs are none, the original's 'state', 'logits'"),
    ],
)
def test_a_model_that_cannot_be_run_is_told_in_one_line(original: Path, tmp_path: Path, fault: str, told: str) -> None:
    assert fault_of(judge(tmp_path, Odd), original, changed(original, f"{fault}-x")).replace("  ", " ") == told


def test_a_model_that_runs_too_long_is_ended(original: Path, tmp_path: Path) -> None:
    told = fault_of(judge(tmp_path, Odd, timeout=3.0), original, changed(original, "hang-x"))
    assert told == "evaluator odd: it took more than 3 s; raise `timeout` in [tool.mlbundle.accuracy], or take fewer samples"


def test_outputs_that_are_no_longer_numbers_keep_no_bound(original: Path, tmp_path: Path) -> None:
    measured = measured_by(judge(tmp_path, Odd, at_least=-1.0), original, changed(original, "nan-x", "F32"))
    assert math.isnan(measured.value)
    assert not measured.keeps


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"output": "pooled"}, "sample 1: the original cannot be compared with: there is no output 'pooled'; there are 'state', 'logits'"),
        ({"evaluator": "raising"}, "evaluator raising: failed while it looked at the model (RuntimeError: no luck); tell its authors"),
    ],
)
def test_what_is_wrong_already_with_the_original_is_told(original: Path, tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    assert fault_of(judge(tmp_path, TinyNet, Raising, **{"evaluator": "tinynet", **settings}), original, original) == told


def test_an_original_without_outputs_is_told(original: Path, tmp_path: Path) -> None:
    silent = changed(original, "none-original")
    assert fault_of(judge(tmp_path, Odd), silent, original) == "sample 1: the evaluator gives no output"


@pytest.mark.parametrize("metric", ["cosine", "top-1", "relative-error"])
def test_an_original_that_gives_no_numbers_is_told(original: Path, tmp_path: Path, metric: str) -> None:
    broken = changed(original, "void-x")
    told = "sample 1: what the original gives is not finite, so that nothing can be compared with it"
    assert fault_of(judge(tmp_path, Odd, metric=metric), broken, broken) == told


def test_samples_that_the_model_does_not_know_are_told(original: Path, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "samples.npz", pixels=np.zeros((3, 8), "f4"))
    assert fault_of(judge(tmp_path), original, original) == "evaluator tinynet: KeyError: 'x'"


def test_the_original_is_run_once_and_one_model_at_a_time(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    monkeypatch.setenv("TINYNET_RUNS", str(runs))
    counting = judge(tmp_path, Counting)
    candidates = [changed(original, f"candidate{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        measured = list(pool.map(lambda each: counting.measure(original, each), candidates))
    assert len({each.value for each in measured if each}) == 1
    notes = sorted((json.loads(path.read_text()) for path in runs.iterdir()), key=lambda note: note[1])
    assert sorted(Path(name).name for name, *_ in notes) == sorted(path.name for path in [original, *candidates])
    assert all(one[2] <= other[1] for one, other in pairwise(notes))


def test_an_original_that_was_changed_is_run_anew(original: Path, tmp_path: Path) -> None:
    one = judge(tmp_path, at_least=-1.0)
    half = changed(original, "half")
    first = measured_by(one, original, half)
    write_model(original, network(seed=8))
    second = measured_by(one, original, half)
    assert first.value > 0.999
    assert second.value < 0.5


def test_a_folder_whose_links_lead_back_to_it_or_nowhere_is_measured(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"kind": "tinynet"}')
    (folder / "model.safetensors").symlink_to(original)
    (folder / "again").symlink_to(".")
    (folder / "parent").symlink_to("..")
    (folder / "nowhere").symlink_to("absent")
    (folder / "circle").symlink_to("circle")
    one = judge(tmp_path)
    assert measured_by(one, folder, folder).value == pytest.approx(1)
    write_model(original, network(seed=8))
    assert measured_by(one, folder, changed(original, "half")).value < 0.5


def test_nothing_is_left_but_the_outputs_of_the_original(original: Path, tmp_path: Path) -> None:
    one = judge(tmp_path)
    for number in range(2):
        one.measure(original, changed(original, f"half{number}"))
    assert len(list((tmp_path / "work-0").iterdir())) == 1
    assert threading.active_count() < 20


SIZE = "import os, sys; print('some words'); print(os.path.getsize(sys.argv[1]) / os.path.getsize(sys.argv[2]))"


def by_command(tmp_path: Path, program: str, *arguments: str, **settings: Any) -> ModelJudge:
    bound = {} if {"at_least", "at_most"} & set(settings) else {"at_most": 1.0}
    return judge(tmp_path, command=(sys.executable, "-c", program, *(arguments or ("{model}", "{original}"))), **bound, **settings)


def test_a_command_measures_by_the_number_that_it_prints_last(original: Path, tmp_path: Path) -> None:
    measured = measured_by(by_command(tmp_path, SIZE), original, half := changed(original, "half"))
    assert (measured.metric, measured.keeps, measured.worst) == ("command", True, None)
    assert measured.value == pytest.approx(half.stat().st_size / original.stat().st_size)
    larger = measured_by(by_command(tmp_path, SIZE), half, original)
    assert (larger.keeps, round(larger.value)) == (False, 2)


def test_a_command_is_told_where_things_are(original: Path, tmp_path: Path) -> None:
    program = "import os, sys; print(sys.argv[1:]); assert not os.listdir(); print(int(all(os.path.exists(each) for each in sys.argv[1:])))"
    one = by_command(tmp_path, program, "{model}", "{original}", "{project}/samples.npz", "{python}", at_least=1.0)
    write_samples(tmp_path / "samples.npz")
    measured = measured_by(one, original, original)
    assert measured.value == 1


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("print('good')", "its last line is no number: 'good'"),
        ("pass", "it prints nothing"),
        ("print(1); print('0.5 or so')", "its last line is no number: '0.5 or so'"),
        ("import sys; print(1); print('bad input', file=sys.stderr); sys.exit(4)", "it failed with exit status 4: bad input"),
        ("import os; print(1, flush=True); os.kill(os.getpid(), 11)", "it was killed by SIGSEGV"),
        ("import sys; sys.stdout.buffer.write(bytes(range(128, 256)) * 100000)", "its last line is no number: '"),
    ],
)
def test_a_command_that_gives_no_number_is_told_in_one_line(original: Path, tmp_path: Path, program: str, told: str) -> None:
    fault = fault_of(by_command(tmp_path, program, "{model}"), original, original)
    assert fault.startswith(f"the command in [tool.mlbundle.accuracy]: {told}")
    assert len(fault) < 500


def test_a_command_that_hangs_is_ended(original: Path, tmp_path: Path) -> None:
    fault = fault_of(by_command(tmp_path, "import time; time.sleep(600)", "{model}", timeout=1.0), original, original)
    assert ": it took more than 1 s; raise `timeout`" in fault


def test_a_program_that_is_not_there_is_told(original: Path, tmp_path: Path) -> None:
    assert "no-such-program: is not on PATH" in fault_of(
        judge(tmp_path, command=("no-such-program", "{model}"), at_least=0.0), original, original
    )


def test_no_number_keeps_no_bound(original: Path, tmp_path: Path) -> None:
    half = changed(original, "half")
    program = f"import sys; print('nan' if sys.argv[1].endswith({half.name!r}) else 1)"
    measured = measured_by(by_command(tmp_path, program, "{model}", at_least=0.0), original, half)
    assert not measured.keeps


def test_a_bound_that_the_original_itself_misses_is_told(original: Path, tmp_path: Path) -> None:
    fault = fault_of(by_command(tmp_path, "print(0.87)", "{model}", at_least=0.9), original, original)
    assert fault == "the command gives 0.87 for the original itself, which is not at-least 0.9; correct the bound"


@pytest.mark.parametrize("place", ["{model}", "{original}"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_command_that_writes_through_a_link_is_found_out(original: Path, tmp_path: Path, place: str, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").symlink_to(original)
    candidate = candidate_folder(folder, {"model.safetensors": changed(original, "half")}, tmp_path / "candidate")
    program = "import sys; open(sys.argv[1] + '/cache.txt', 'w'); print(1)"
    assert measured_by(by_command(tmp_path, program, place, "{model}"), folder, candidate).keeps
    program = f"import sys; open(sys.argv[1] + '/{name}', 'a').write(' '); print(1)"
    told = f"{name} was changed while the model was measured; what measures must only read the models' files"
    assert fault_of(by_command(tmp_path, program, place, "{model}"), folder, candidate) == told


def test_what_a_command_measures_is_never_taken_for_the_same_another_time(tmp_path: Path) -> None:
    assert asked(tmp_path, command=("x", "{model}"), at_least=1.0).identity is None


def test_answers_depend_on_settings_samples_and_evaluators(tmp_path: Path) -> None:
    class Newer(TinyNet):
        version = "2"

    class Libraries(TinyNet):
        def programs(self) -> dict[str, str]:
            return {"numpy": "9"}

    asks: list[tuple[Any, dict[str, Any]]] = [
        (TinyNet, {}),
        (TinyNet, {"metric": "top-1"}),
        (TinyNet, {"at_least": 0.5}),
        (TinyNet, {"reduce": "worst"}),
        (TinyNet, {"output": "logits"}),
        (TinyNet, {"search": "off"}),
        (Newer, {}),
        (Libraries, {}),
    ]
    identities = [json.dumps(asked(tmp_path, evaluator, **settings).identity) for evaluator, settings in asks]
    write_samples(tmp_path / "samples.npz", seed=9)
    identities.append(json.dumps(asked(tmp_path).identity))
    assert len(set(identities)) == len(identities)
    assert asked(tmp_path).identity == asked(tmp_path, timeout=5.0, at_least=0.999).identity
