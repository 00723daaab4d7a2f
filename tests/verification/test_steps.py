from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.pipeline import Stage
from hatch_mlbundle.reports.terminal import WIDTH, as_text
from hatch_mlbundle.reports.verification import verification_report
from hatch_mlbundle.verification.report import SUFFIX
from hatch_mlbundle.verify_settings import VerifySettings
from tests.verification.breakable import Harm, Planted, planted_job, run_zoo, zoo

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")

ROUNDED = Harm(data=struct.pack("<4d", 0.1, -2.51, 3e3, 4.0))
STEPS: Mapping[str, Mapping[str, Harm]] = {"clean": {}, "lossy": {"data/weights.bin": ROUNDED}, "partly": {"data/words.txt": Harm()}}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Three steps that each drop forty files besides, one of nothing but harm, and one that does nothing."""
    folder = tmp_path_factory.mktemp("steps")
    command = run_zoo(output="numeric", relative_tolerance=0.01)
    job = planted_job(folder, STEPS, VerifySettings(commands=(command,), each_step=True))
    alone = [Planted("harmful", {"data/table.json": Harm()}), Planted("idle", {})]
    more = [Stage(optimizer=each, distribution="tests", version="1", identity=[each.name]) for each in alone]
    return optimize(replace(job, stages=(*job.stages, *more)), zoo(folder), folder / "small")


def test_each_step_has_its_row_between_as_it_is_and_in_all(result: Result) -> None:
    assert result.verification is not None
    steps = result.verification.steps
    assert [step.step for step in steps] == ["as it is", "clean", "lossy", "partly", "harmful", "idle", "in all"]
    assert [step.changes for step in steps] == [0, 40, 41, 40, 0, 0, 121]
    assert [step.put_back for step in steps] == [0, 0, 0, 1, 1, 0, 2]
    assert [step.is_broken for step in steps] == [False, False, False, False, True, False, False]
    assert [step.deviation for step in steps] == [0.0, 0.0, *[pytest.approx(0.01 / 2.51)] * 5]
    assert [step.risk for step in steps] == [None, *["low"] * 6]


def test_the_rows_reconcile_with_the_manifest(result: Result) -> None:
    assert result.verification is not None
    sizes = [step.installed for step in result.verification.steps]
    artifact = result.manifest.artifact
    assert (sizes[0], sizes[-1]) == (artifact.before.installed, artifact.after.installed)
    assert [former - later for former, later in pairwise(sizes[:-1])] == [step.saved.installed for step in result.manifest.steps]


def test_the_first_and_the_last_row_are_not_run_again(result: Result) -> None:
    assert result.verification is not None
    (row,) = result.verification.commands
    steps = result.verification.steps
    assert steps[0].measured == (row.before,)
    assert steps[-1].measured == steps[3].measured == (row.after,)


def test_the_table_tells_it_in_80_columns(result: Result) -> None:
    assert result.verification is not None
    lines = as_text(verification_report(result.verification)).splitlines()
    rows = {line.rsplit("  ", 5)[0].split("  ")[0]: line for line in lines}
    assert max(map(len, lines)) <= WIDTH
    assert lines[2].split() == ["after", "step", "installed", "change", "start", "memory", "accuracy", "risk"]
    for step, told in (
        ("clean", "same"),
        ("lossy", "off 4.0e-03"),
        ("partly", "1 put back"),
        ("harmful", "broken"),
        ("in all", "off 4.0e-03"),
    ):
        assert told in rows[step]
    assert rows["harmful"].split()[1:] == [*rows["partly"].split()[1:3], *rows["partly"].split()[5:9], "broken", "low"]


def test_the_companion_has_the_same_rows(result: Result, tmp_path: Path) -> None:
    assert result.verification is not None
    document = json.loads(result.verification.to_json("small", "0" * 64))
    assert [(row["step"], row["installed"], row["put_back"]) for row in document["steps"]] == [
        (step.step, step.installed, step.put_back) for step in result.verification.steps
    ]
    assert SUFFIX.endswith(".json")
