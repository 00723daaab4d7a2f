"""How many runs of an application it takes to find harmful changes that are planted among thousands of harmless ones.

python benchmarks/planted.py [--seeds A B] [--jail] FOLDER [ARGUMENT...]: FOLDER is a frozen bundle, and its executable of the same name is
run with the arguments. The default optimizers run on it; then one of their steps is made to harm one more file, drawn at random among all
those that a run uses. Afterwards two steps harm one file each. Without FOLDER only the breakages of tests/verification are planted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import describe_machine, row

from hatch_mlbundle.adapters.project import FROZEN, project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.applied import Applied
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.importpaths import module_of
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.pipeline import Done, Outcome, Stage, run
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.proof import start_proof
from hatch_mlbundle.session import Session, open_session
from hatch_mlbundle.verification.judged import Judged
from hatch_mlbundle.verification.replay import replay
from hatch_mlbundle.verification.verify import Verifying
from hatch_mlbundle.verify_settings import VerifySettings
from tests.verification.breakable import Harm, Planted, planted_job, run_zoo, zoo
from tests.verification.test_breakages import BREAKAGES, SETTINGS

LIMIT = 12
"""Runs of the application, those on the untouched one included, that finding one file may take."""
BASELINE = 2
TRIES = 12
"""Files that are tried until the harm done to one breaks the application: not every byte matters."""
WIDTHS = (26, 8, 8)

Harming = Callable[[File, Bundle], Harm | None]


def dropped_module(file: File, _: Bundle) -> Harm | None:
    return Harm() if module_of(file.path) and file.kind is not Kind.ELF else None


def dropped_data(file: File, _: Bundle) -> Harm | None:
    no_data = module_of(file.path) or file.kind in (Kind.ELF, Kind.FROZEN, Kind.LINK, Kind.BYTECODE, Kind.PYTHON)
    return None if no_data else Harm()


def truncated_library(file: File, _: Bundle) -> Harm | None:
    return Harm(data=file.read()[: file.size // 2]) if file.kind is Kind.ELF and file.size < 10**8 else None


def zeroed_constants(file: File, _: Bundle) -> Harm | None:
    """Zero the constants of a library; its last byte, one of a section header, goes because a rewritten file must be smaller."""
    if file.kind is not Kind.ELF or file.size > 10**8:
        return None
    data = bytearray(file.read())
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(data)
        copy.flush()
        with Reader(Path(copy.name)) as reader:
            found = [each for each in read_elf(reader).sections if each.name == ".rodata"]
    for section in found:
        data[section.offset : section.offset + section.size] = bytes(section.size)
    return Harm(data=bytes(data[:-1])) if found else None


def wrong_link(file: File, bundle: Bundle) -> Harm | None:
    """Link a file to the next one of its kind."""
    if file.kind in (Kind.FROZEN, Kind.LINK) or ".pyz/" in file.path:
        return None
    alike = [each.path for each in bundle.of_kind(file.kind) if each.sha256 != file.sha256 and ".pyz/" not in each.path]
    other = next((path for path in alike if path > file.path), None)
    up = "../" * file.path.count("/")
    return Harm(target=up + other) if other else None


HARMS: Mapping[str, Harming] = {
    "used module dropped": dropped_module,
    "used data file dropped": dropped_data,
    "library truncated": truncated_library,
    "constants zeroed": zeroed_constants,
    "wrong link": wrong_link,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Files that were harmed, by which steps, and what verification made of it; `runs` are those of the application."""

    harms: Sequence[tuple[str, Harm]]
    steps: Mapping[str, str]
    judged: Judged
    runs: int
    seconds: float

    @property
    def put_back(self) -> set[tuple[str, str]]:
        report = self.judged.report
        return {(each.step, each.path) for each in report.reverted} if report else set()

    @property
    def is_found(self) -> bool:
        """Whether every harm is put back and named, and nothing else is."""
        named = {(each.optimizer, each.path) for each in self.judged.outcome.findings if each.code == "MB601"}
        return {(step, path) for path, step in self.steps.items()} == self.put_back == named


_STEPS = {"drop": "exclude_modules", "rewrite": "strip", "link": "deduplicate"}
"""The default step that makes such changes."""


def _planted(harms: Mapping[str, Harm]) -> Stage:
    return Stage(optimizer=Planted("planted", harms), distribution="bench", version="1", identity=["planted"])


def _with(done: Done, applied: Applied | None, harmed: Sequence[str]) -> Done:
    """Return what a step did and that harm, and nothing else to the files that are harmed."""
    changes = tuple(change for change in done.changes if change.path not in harmed)
    return replace(done, changes=(*changes, applied) if applied else changes)


@dataclass(slots=True, kw_only=True)
class Bench:
    """An application under verification, after the default optimizers."""

    session: Session
    proof: Verifying
    outcome: Outcome
    done: int = BASELINE

    def used(self) -> list[str]:
        """Return the files that a run uses and the optimizers left."""
        used = frozenset[str]().union(*(each.used for each in self.proof.expected))
        return sorted(path for path in used if path in self.outcome.bundle)

    def plant(self, *harms: tuple[str, Harm]) -> Trial:
        """Do harm to files, each as part of the default step that makes such changes, and verify."""
        made = run(self.outcome.bundle, [_planted(dict(harms))], self.session.services).stages[0].changes
        by_step = {_STEPS[applied.action]: applied for applied in made if applied.action != "keep"}
        stages = tuple(_with(done, by_step.get(done.stage.name), [path for path, _ in harms]) for done in self.outcome.stages)
        bundle = replay(self.proof.before, stages, ()).bundle
        start = time.perf_counter()
        judged = self.proof.judge(replace(self.outcome, bundle=bundle, stages=stages))
        total = judged.report.runs if judged.report else 0
        runs, self.done = total - self.done + BASELINE, total
        seconds = time.perf_counter() - start
        return Trial(
            harms=harms, steps={applied.path: step for step, applied in by_step.items()}, judged=judged, runs=runs, seconds=seconds
        )

    def harmful(self, choice: random.Random, kind: str) -> Iterator[tuple[str, Harm]]:
        """Yield random used files that a harm of this kind can be done to."""
        used = self.used()
        for path in choice.sample(used, len(used)):
            harm = HARMS[kind](self.outcome.bundle[path], self.outcome.bundle)
            if harm is not None:
                yield path, harm


def open_bench(folder: Path, arguments: Sequence[str], stack: ExitStack, *, jail: bool) -> Bench:
    """Run the default optimizers, and the application as it was."""
    registry = load_registry()
    command = {"name": folder.name, "run": [f"{{bundle}}/{folder.name}", *arguments]}
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    config = project_config(scratch, registry, {"verify": {"commands": [command], "jail": jail}}, FROZEN)
    job: Job = prepare(config, registry, project=scratch)
    session = stack.enter_context(open_session(job, folder, job.cache()))
    before = session.artifact.scan().bundle
    proof = start_proof(job, session, folder, folder.name, before)
    assert isinstance(proof, Verifying)
    return Bench(session=session, proof=proof, outcome=run(before, job.stages_for(session.artifact.kind), session.services))


def tell(kind: str, trial: Trial) -> None:
    verdict = "found" if trial.is_found else f"NOT EXACTLY: {sorted(trial.put_back)[:3]}, {len(trial.put_back)} in all"
    line = row(kind, trial.runs, f"{trial.seconds:.0f} s", widths=WIDTHS)
    problem = trial.judged.report.reverted[0].problem if trial.judged.report and trial.judged.report.reverted else ""
    print(f"{line}  {verdict}  {', '.join(f'{step}: {path}' for path, step in trial.steps.items())}  ({problem[-100:]})", flush=True)


def single_harms(bench: Bench, seeds: Iterable[int]) -> Iterator[Trial]:
    """Yield, for every seed and kind, the trial with the first file that the application minds."""
    for seed in seeds:
        for kind in HARMS:
            choice = random.Random(f"{seed} {kind}")
            for _, harmful in zip(range(TRIES), bench.harmful(choice, kind), strict=False):
                trial = bench.plant(harmful)
                if trial.put_back:
                    tell(kind, trial)
                    yield trial
                    break


def pairs(bench: Bench, singles: Sequence[Trial], seed: int) -> Iterator[Trial]:
    """Yield trials with two of the harms at once, by different steps."""
    rest = list(singles)
    random.Random(seed).shuffle(rest)
    while rest:
        one = rest.pop()
        other = next(
            (each for each in rest if set(each.steps.values()).isdisjoint(one.steps.values()) and each.steps.keys() != one.steps.keys()),
            None,
        )
        if other is not None:
            rest.remove(other)
            trial = bench.plant(*one.harms, *other.harms)
            tell("two, of different steps", trial)
            yield trial


def breakages() -> None:
    """Plant each breakage of tests/verification in its small application."""
    print(row("breakage", "runs", "", widths=(38, 6, 1)))
    for name, (path, harm, _) in BREAKAGES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            app = zoo(folder)
            planted = harm if isinstance(harm, Harm) else Harm(data=harm((app / path).read_bytes()))
            settings = VerifySettings(commands=(run_zoo(timeout=2.0 if name == "what it waits for" else 30.0),), **SETTINGS)  # type: ignore[arg-type]
            result = optimize(planted_job(folder, {"first": {}, "second": {path: planted}, "third": {}}, settings), app, folder / "small")
            named = [finding.path for finding in result.manifest.findings] == [path]
            runs = result.verification.runs if result.verification else 0
        print(row(name, runs, "", widths=(38, 6, 1)), "found" if named else "NOT FOUND", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 3), metavar=("FIRST", "END"))
    parser.add_argument("--jail", action="store_true")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    print(describe_machine())
    if options.folder is None:
        breakages()
        return
    with ExitStack() as stack:
        bench = open_bench(options.folder.resolve(), options.arguments, stack, jail=options.jail)
        changes = sum(applied.action != "keep" for done in bench.outcome.stages for applied in done.changes)
        print(f"{changes:,} changes by the default optimizers; {len(bench.used()):,} files left that a run uses", flush=True)
        print(row("harm", "runs", "", widths=WIDTHS))
        singles = list(single_harms(bench, range(*options.seeds)))
        doubles = list(pairs(bench, singles, options.seeds[0]))
    for what, trials in (("one file", singles), ("two files", doubles)):
        if trials:
            runs = sorted(trial.runs for trial in trials)
            exact = sum(trial.is_found for trial in trials)
            print(f"{what}: {exact} of {len(trials)} found exactly, runs {runs} (limit {LIMIT} for one file)")


if __name__ == "__main__":
    main()
