from __future__ import annotations

from dataclasses import replace

from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.exploration import exploration_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text
from hatch_mlbundle.verification.choices import Choice, Exploration, TriedCommand
from hatch_mlbundle.verification.report import Measured

BASE = Choice(
    name="as it is",
    optimizers=(),
    form="frozen",
    installed=970_000_000,
    compressed=340_000_000,
    verdict="same",
    measured=(Measured(runs=3, seconds=4.5, peak_memory=512_000_000), Measured(runs=3, seconds=1.0, peak_memory=600_000_000)),
)
FAST = (Measured(runs=3, seconds=2.25, peak_memory=300_000_000), Measured(runs=3, seconds=1.0, peak_memory=300_000_000))
SMALL = replace(BASE, name="strip", installed=485_000_000, compressed=170_000_000, measured=FAST)
BROKEN = replace(SMALL, name="exclude", verdict="broken", problem="'app' exits with 1 instead of 0: KeyError", measured=())
COMMANDS = tuple(TriedCommand(name=name, arguments=(name,), compared="equal") for name in ("app", "other"))


def text_of(*choices: Choice, commands: tuple[TriedCommand, ...] = COMMANDS, findings: tuple[Finding, ...] = ()) -> list[str]:
    exploration = Exploration(
        artifact="app",
        kind="frozen",
        sha256="0",
        commands=commands,
        repeat=3,
        runs=9,
        results=3,
        jail=True,
        choices=choices,
        findings=findings,
    )
    lines = as_text(exploration_report(exploration)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    return lines


def test_figures_and_percents_where_they_fit() -> None:
    lines = text_of(BASE, SMALL, BROKEN)
    assert lines[1].split() == ["choice", "installed", "zipped", "start", "memory", "verified"]
    assert lines[2].split() == ["as", "it", "is", "970", "MB", "340", "MB", "4.50", "s", "600", "MB", "same"]
    assert lines[3].split() == ["strip", "485", "MB", "-50%", "170", "MB", "-50%", "2.25", "s", "-50%", "300", "MB", "-50%", "same"]
    assert lines[4].split() == ["exclude", "485", "MB", "-50%", "170", "MB", "-50%", "-", "-", "broken"]


def test_percents_of_sizes_stay_where_a_name_is_long() -> None:
    lines = text_of(BASE, replace(SMALL, name="a_third_partys_optimizer"))
    assert lines[3].split()[1:] == ["485", "MB", "-50%", "170", "MB", "-50%", "2.25", "s", "300", "MB", "same"]


def test_one_line_for_a_problem_of_several_choices() -> None:
    lines = text_of(BASE, BROKEN, replace(BROKEN, name="all together"))
    assert "exclude; all together: broken: 'app' exits with 1 instead of 0: KeyError" in lines


def test_findings_are_told_once_and_not_by_the_dozen() -> None:
    findings = tuple(Finding(code="MB102", path=f"{number}.so", message="failed", optimizer="strip") for number in range(20))
    lines = text_of(BASE, replace(SMALL, findings=findings), replace(SMALL, name="all together", findings=findings))
    assert sum("MB102" in line for line in lines) == 5
    assert "strip: 15 more findings, with --json" in lines


def test_how_it_was_run_or_that_it_was_not() -> None:
    assert text_of(BASE)[-2:] == [
        "start of the slowest command, memory of the largest; each run 3 times in a clean",
        "root: 9 runs of 3 different results",
    ]
    sizes = replace(BASE, verdict=None, measured=())
    lines = text_of(sizes, commands=())
    assert lines[1].split() == ["choice", "installed", "zipped"]
    assert lines[-2].startswith("nothing was run")
