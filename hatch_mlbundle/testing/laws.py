"""The laws: what every optimizer has to keep, each with a function that tries it."""

from __future__ import annotations

import json
import pickle
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

from hatch_mlbundle.applied import Applied
from hatch_mlbundle.model import Bundle, Convert, File, Rewrite
from hatch_mlbundle.optimizer import Options
from hatch_mlbundle.reference import option_entries
from hatch_mlbundle.testing.elsewhere import SURROUNDINGS, records_elsewhere
from hatch_mlbundle.testing.hostile import hostile_bundles
from hatch_mlbundle.testing.law import Case, broken, law
from hatch_mlbundle.testing.records import Record, difference, record_of
from hatch_mlbundle.testing.running import Run

_FAULTS = ("MB101", "MB104", "MB12")
"""Codes, or beginnings of codes, of findings that are a fault of the optimizer, whatever the input (docs/findings.md)."""

_COPIES = 8
"""Copies of the bundle in one, so that many threads have work at once."""

_SINGLE = 20
"""Files that are excluded and included one at a time."""


@law
def assert_documented(case: Case) -> None:
    """The class can be registered, and says what it and each of its options is for."""
    optimizer = case.optimizer
    if not (vars(optimizer).get("__doc__") or "").strip():
        raise broken("documented", case, "the class has no docstring; its first line is what `mlbundle plugins` shows")
    if not optimizer.version.strip():
        raise broken("documented", case, "`version` is empty; the cache goes by it")
    common = [each.name for each in fields(Options)]
    for entry in option_entries(optimizer.options_type, without=common):
        if not entry.doc.strip():
            raise broken("documented", case, f"the option `{entry.name}` has no documentation; write option('What it does.', default=...)")


@law
def assert_honest(case: Case) -> None:
    """Each change can be made and says why; what it expects to save is not more than there is; findings and details can be told."""
    run = case.plain
    if run.misdeeds:
        raise broken("honest", case, str(run.misdeeds[0]))
    for change in run.plan:
        if problem := _reason_problem(change.reason):
            raise broken("honest", case, f"the reason of the change of {change.path} {problem}")
        _check_estimate(case, change if isinstance(change, Rewrite | Convert) else None)
    for each in run.changes:
        if problem := _reason_problem(each.reason):
            raise broken("honest", case, f"the reason why {each.path} was changed or kept {problem}")
        if problem := _detail_problem(each):
            raise broken("honest", case, f"what rewrite() or convert() says of {each.path} {problem}")
    if fault := next((finding for finding in run.findings if finding.code.startswith(_FAULTS)), None):
        raise broken("honest", case, f"it is at fault, as the finding says: {fault.line()}")


@law
def assert_never_larger(case: Case) -> None:
    """No file and no bundle grows, unless a change says that it may (`may_grow`)."""
    run = case.plain
    growing = {change.path for change in run.plan if isinstance(change, Convert) and change.may_grow}
    for each in run.changes:
        if each.before and each.after and each.after.size > each.before.size and each.tell is None and each.group not in growing:
            grew = f"{each.path} grew from {each.before.size} to {each.after.size} bytes"
            raise broken("never_larger", case, grew)
    told = any(each.tell for each in run.changes)
    if run.saved < 0 and not growing and not told:
        added = next((each.path for each in run.changes if each.action == "add"), None)
        what = f"the bundle grew from {run.before.size} to {run.after.size} bytes"
        raise broken("never_larger", case, f"{what}; {added} was added" if added else what)


@law
def assert_idempotent(case: Case) -> None:
    """A second run over the result changes nothing: who optimizes an artifact twice gets the same one."""
    again = case.run(case.plain.after)
    for each in again.changes:
        if each.action != "keep":
            what = f"a second run over its own result has a change for {each.path}: {each.action} ({each.reason})"
            raise broken("idempotent", case, what)


@law
def assert_deterministic(case: Case) -> None:
    """The same bytes and the same plan, whatever the number of threads, the order of the files, the process and its surroundings."""
    check_here(case)
    check_elsewhere([case])


def check_here(case: Case) -> None:
    """Try that part of `deterministic` that needs no other process."""
    first = record_of(case.plain)
    _check_same(case, "deterministic", "with 4 threads", first, record_of(case.run(case.bundle, workers=4)))
    backwards = record_of(case.run(Bundle(reversed(list(case.bundle.values())))))
    _check_same(case, "deterministic", "with the files in another order", first.in_any_order(), backwards.in_any_order())


def check_elsewhere(cases: Sequence[Case]) -> None:
    """Try the rest of it: a process costs as much for one case as for many."""
    for case, records in zip(cases, records_elsewhere(cases), strict=True):
        for surroundings, record in zip(SURROUNDINGS, records, strict=True):
            _check_same(case, "deterministic", f"in another process ({surroundings.told})", record_of(case.plain), record)


@law
def assert_selective(case: Case) -> None:
    """`include` and `exclude` are kept to: nothing is made, changed or dropped outside of them."""
    nothing = case.run(case.bundle, {"exclude": ["*"]})
    touched = [each.path for each in nothing.changes if each.action != "keep"] + list(nothing.companions)
    if touched:
        raise broken("selective", case, f'with exclude = ["*"], {touched[0]} was made or changed all the same')
    for subject in _subjects(case.plain)[:_SINGLE]:
        glob = _glob(subject)
        kept = case.run(case.bundle, {"exclude": [glob]})
        if subject in _subjects(kept):
            raise broken("selective", case, f"{subject} was changed although `exclude` names it")
        alone = case.run(case.bundle, {"include": [glob]})
        if other := next((path for path in _subjects(alone) if path != subject), None):
            raise broken("selective", case, f"{other} was changed although `include` names {subject} alone")


@law
def assert_cacheable(case: Case) -> None:
    """What comes from the cache is what would be made anew: `version`, the options, `key` and `inputs()` say all that decides a result."""
    first = record_of(case.plain)
    with tempfile.TemporaryDirectory(prefix="mlbundle-testing-") as folder:
        for what, cache, warming in _warmings(case, Path(folder)):
            for bundle in warming:
                case.run(bundle, cache=cache)
            second = record_of(case.run(case.bundle, cache=cache))
            told = f"with a cache that knows {what} (does the result depend on more than bytes, options and `key`?)"
            _check_same(case, "cacheable", told, first, second)


@law
def assert_parallel(case: Case) -> None:
    """One instance works for many threads at once, and its class and options go through pickle into other processes."""
    made = (case.optimizer, case.plain.options)
    try:
        copied = pickle.loads(pickle.dumps(made))  # noqa: S301 - written by us in the same line
    except Exception as error:
        raise broken("parallel", case, f"the class and its options cannot be pickled ({type(error).__name__}: {error})") from error
    if copied != made:
        raise broken("parallel", case, "the options are others when they come out of pickle")
    many = Bundle(replace(file, path=f"copy{number}/{file.path}") for number in range(_COPIES) for file in case.bundle.values())
    first = record_of(case.run(many))
    with _hasty_threads():
        second = record_of(case.run(many, workers=2 * _COPIES))
    _check_same(case, "parallel", f"with {2 * _COPIES} threads over {_COPIES} copies of the files", first, second)


@law
def assert_safe(case: Case) -> None:
    """Empty, damaged and hostile files are kept, or told of in findings, or changed soundly; no error comes out of a step."""
    _check_run(case, "the files as they are", case.plain)
    for what, bundle in hostile_bundles(case.bundle):
        try:
            run = case.run(bundle)
        except (Exception, SystemExit) as error:
            raise broken("safe", case, f"given {what}, the whole build failed ({type(error).__name__}: {error})") from error
        _check_run(case, what, run)


def _check_run(case: Case, what: str, run: Run) -> None:
    if run.misdeeds:
        raise broken("safe", case, f"given {what}, {run.misdeeds[0]}")
    if fault := next((finding for finding in run.findings if finding.code.startswith(_FAULTS)), None):
        raise broken("safe", case, f"given {what}, it is at fault, as the finding says: {fault.line()}")
    for each in run.changes if case.equivalent else ():
        if each.action == "rewrite" and each.tell is None and (problem := _unsound(case, each)):
            raise broken("safe", case, f"given {what}, {each.path} was changed, and {problem}")


def _unsound(case: Case, change: Applied) -> str | None:
    """Return why a file does not serve as before, by the author's own word, or None."""
    if case.equivalent is None or change.before is None or change.after is None:
        return None
    try:
        fits = case.equivalent(change.before, change.after)
    except Exception as error:
        return f"equivalent() cannot compare the two ({type(error).__name__}: {error})"
    return None if fits else "is not equivalent to what it was"


def _check_same(case: Case, name: str, circumstances: str, one: Record, other: Record) -> None:
    found = difference(one, other)
    if found:
        raise broken(name, case, f"{circumstances}, {found}")


def _reason_problem(reason: object) -> str | None:
    """Return what is wrong with a reason, None where a person can learn from it."""
    if not isinstance(reason, str):
        return f"is {reason!r}, which is no text"
    if not reason.strip():
        return "is empty"
    if not reason.isprintable() and len(reason.splitlines()) > 1:
        return f"has several lines: {reason!r}"
    return f"is {reason!r}, from which nobody learns why" if len(reason.split()) < 2 else None


def _check_estimate(case: Case, change: Rewrite | Convert | None) -> None:
    if change is None or change.saves is None:
        return
    sources = change.sources if isinstance(change, Convert) else (change.path,)
    size = sum(case.bundle[path].size for path in sources if path in case.bundle)
    if not 0 <= change.saves <= size:
        what = f"it expects to save {change.saves} bytes of {change.path}, which has {size}"
        raise broken("honest", case, what)


def _detail_problem(change: Applied) -> str | None:
    try:
        json.dumps(change.detail, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"cannot be written into the manifest ({error})"
    return None


def _subjects(run: Run) -> list[str]:
    """Return what the changes of files that were there are about: `include` and `exclude` are asked about these."""
    found = (each.group or each.path for each in run.changes if each.action != "keep" and each.tell is None and (each.before or each.group))
    return list(dict.fromkeys(found))


def _glob(path: str) -> str:
    """Return a glob that matches this path alone."""
    return "/" + re.sub(r"([\\*?\[\]! #])", r"\\\1", path)


def _warmings(case: Case, folder: Path) -> Iterator[tuple[str, Path, list[Bundle]]]:
    """Yield caches, each with what it is to know before the case's own run, and words for that."""
    yield "the same build", folder / "same", [case.bundle]
    moved = Bundle(replace(file, path=f"elsewhere/{file.path}") for file in case.bundle.values())
    yield "the same files in another folder", folder / "moved", [moved]
    rewritten = [change.path for change in case.plain.plan if isinstance(change, Rewrite)]
    alone = [Bundle([_renamed(case.bundle, path)]) for path in rewritten]
    yield "each file alone under another name", folder / "alone", alone


def _renamed(bundle: Bundle, path: str) -> File:
    return replace(bundle[path], path=f"{posixpath.dirname(path) or 'top'}/renamed{posixpath.splitext(path)[1]}", mode=0o600)


@contextmanager
def _hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
