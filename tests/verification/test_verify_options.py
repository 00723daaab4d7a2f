"""What the options of `[tool.mlbundle.verify]` promise, on an application of a few files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.config import Config, Settings
from hatch_mlbundle.errors import VerificationError
from hatch_mlbundle.job import Job
from hatch_mlbundle.pipeline import Stage
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.verify_settings import VerifyCommand, VerifySettings
from tests.verification.breakable import Harm, Planted

Try = Callable[..., Result]

FILES = {"scale": "1.0000001", "words": "ab", **{f"part/{number}": str(number) for number in range(60)}}


@pytest.fixture
def attempt(tmp_path: Path) -> Try:
    """Optimize a folder by planted steps, verified by Python code that gets it as its first argument."""
    for name, text in FILES.items():
        (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / name).write_text(text)

    def run(
        code: str, steps: Mapping[str, Mapping[str, Harm]], *arguments: str, settings: Mapping[str, object] | None = None, **command: object
    ) -> Result:
        prelude = "import os, pathlib, sys; app = pathlib.Path(sys.argv[1]); read = lambda name: (app / name).read_text()\n"
        (tmp_path / "check.py").write_text(prelude + code)
        values = {"name": "check", "run": (sys.executable, "{project}/check.py", "{bundle}", *arguments), **command}
        verify = VerifySettings(commands=(VerifyCommand(**values),), **(settings or {}))  # type: ignore[arg-type]
        stages = tuple(
            Stage(optimizer=Planted(name, harms), distribution="tests", version="1", identity=[name]) for name, harms in steps.items()
        )
        config = Config(settings=Settings(verify=verify), steps=())
        return optimize(
            Job(config=config, stages=stages, tools=(), project=tmp_path, progress=Silence()), tmp_path / "app", tmp_path / "small"
        )

    return run


def told(result: Result) -> list[tuple[str, str | None, str | None]]:
    return [(finding.code, finding.optimizer, finding.path) for finding in result.manifest.findings]


def test_the_surroundings_are_the_same_every_time(attempt: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LC_ALL", "de_DE")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    seen = tmp_path / "seen"
    code = f"""
work = pathlib.Path.cwd()
names = ["SECRET", "LC_ALL", "TZ", "PYTHONHASHSEED", "MINE", "HOME", "TMPDIR"]
told = [os.environ.get(name, "-").replace(str(work), "WORK") for name in names]
told += [sys.stdin.read(), sys.argv[2].replace(str(work), "WORK"), sorted(path.name for path in work.iterdir())]
open({str(seen)!r}, "a").write(f"{{told}} {{app}} {{work}}\\n")
"""
    attempt(code, {"step": {"part/1": Harm()}}, "{work}/x", stdin="grüß", environment=("MINE={project}={bundle}", "TZ=CET"))
    lines = seen.read_text().splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    (work,) = {line.rpartition(" ")[2] for line in lines}
    app = lines[0].split(" ")[-2]
    expected = ["-", "C.UTF-8", "CET", "0", f"{tmp_path}={app}", "WORK", "WORK/.tmp", "grüß", "WORK/x", [".tmp"]]
    assert lines[0] == f"{expected} {app} {work}"
    assert not Path(work).exists()


def test_numbers_may_differ_within_the_tolerances(attempt: Try) -> None:
    steps = {"round": {"scale": Harm(data=b"1.0")}}
    code = "open('scores.csv', 'w').write('a,' + read('scale')); print('scale', read('scale'))"
    assert told(attempt(code, steps, output="numeric", files=("*.csv",))) == []


def test_numbers_beyond_the_tolerances_are_put_back(attempt: Try) -> None:
    steps = {"round": {"scale": Harm(data=b"1.0")}}
    code = "open('scores.csv', 'w').write('a,' + read('scale'))"
    result = attempt(code, steps, output="numeric", files=("*.csv",), relative_tolerance=1e-9, absolute_tolerance=0.0)
    assert told(result) == [("MB601", "round", "scale")]
    assert "scores.csv" in result.manifest.findings[0].message


def test_a_comparator_of_ones_own_decides(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "compare.py").write_text(
        "import pathlib, sys\nbefore, after = (sorted((pathlib.Path(each) / 'stdout').read_text()) for each in sys.argv[1:])\n"
        "sys.exit(0 if before == after else 'other letters')\n"
    )
    steps = {"turn": {"words": Harm(data=b"ba"), "part/1": Harm(data=b"")}}
    comparator = (sys.executable, "compare.py", "{before}", "{after}")
    (tmp_path / "app/words").write_text("ab ")  # a rewritten file has to be smaller
    result = attempt("print(read('words').strip() + read('part/1'))", steps, comparator=comparator)
    assert told(result) == [("MB601", "turn", "part/1")]
    assert "is not the same to its comparator: other letters" in result.manifest.findings[0].message


def test_another_exit_status_may_be_the_right_one(attempt: Try) -> None:
    assert told(attempt("sys.exit(7)", {"step": {"part/1": Harm()}}, exit_code=7)) == []
    with pytest.raises(VerificationError, match="'check' fails on the untouched artifact: it exits with 7 instead of 0"):
        attempt("sys.exit(7)", {"step": {"part/2": Harm()}})


def test_repeated_runs_are_measured_by_their_median(attempt: Try) -> None:
    result = attempt("import time; time.sleep(0.1)", {"step": {"part/1": Harm()}}, settings={"repeat": 3})
    assert result.verification is not None
    (row,) = result.verification.commands
    assert (row.before.runs, row.after.runs, result.verification.runs) == (3, 3, 7)
    assert 0.1 < row.after.seconds < 5
    assert row.after.peak_memory > 2_000_000
    document = json.loads(result.verification.to_json("app", "0" * 64))
    assert document["commands"][0]["after"] == {"runs": 3, "seconds": row.after.seconds, "peak_memory": row.after.peak_memory}


def test_guilty_files_of_different_steps_are_found_one_after_another(attempt: Try) -> None:
    steps = {
        "first": {f"part/{number}": Harm() for number in range(20)},
        "second": {f"part/{number}": Harm() for number in range(20, 40)},
        "third": {f"part/{number}": Harm() for number in range(40, 60)},
    }
    result = attempt("print(read('part/3')); print(read('part/33'))", steps)
    assert sorted(told(result)) == [("MB601", "first", "part/3"), ("MB601", "second", "part/33")]
    assert result.verification is not None
    assert result.verification.runs <= 12


def test_what_breaks_only_together_goes_back_in_part_and_works(attempt: Try, tmp_path: Path) -> None:
    steps = {"first": {"part/3": Harm()}, "second": {"part/33": Harm(), "part/34": Harm()}}
    result = attempt("print((app / 'part/3').exists() or (app / 'part/33').exists())", steps)
    (finding,) = result.manifest.findings
    assert finding.code == "MB601"
    assert finding.path in ("part/3", "part/33")
    assert not (tmp_path / "small/part/34").exists()


def test_dozens_of_guilty_files_go_back_together(attempt: Try, tmp_path: Path) -> None:
    steps = {"first": {f"part/{number}": Harm() for number in range(60)}, "second": {"words": Harm()}}
    result = attempt("for number in range(40): read(f'part/{number}')", steps)
    (finding,) = result.manifest.findings
    assert (finding.code, finding.optimizer) == ("MB602", "first")
    assert (tmp_path / "small/part/39").exists()
    assert not (tmp_path / "small/words").exists()
    assert result.verification is not None
    assert result.verification.runs < 100
