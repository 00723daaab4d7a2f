"""Find the smallest way to store a model's weights that keeps the bound of [tool.mlbundle.accuracy]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from hatch_mlbundle.accuracy.search import Choice, Trial, smallest_within, trial_rows, unmeasured
from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.optimizer import Detail, Json, Judge, Measured

from .conversion import Conversion

Form = Literal["float16", "int8"]
Store = Callable[[Form, frozenset[str], Path], dict[str, Json]]
"""Writes the model with its weights in that form, some of them promoted to float16, into a folder; returns what was done."""

_SETTINGS: Mapping[Form, tuple[Form, ...]] = {"float16": ("float16",), "int8": ("int8", "float16")}


def searched(work: Conversion, judge: Judge, form: Form, store: Store) -> Mapping[str, Detail]:
    """Return the details of the result taken; raises KeptError where no way keeps the bound, and as Conversion does.

    int8 with some weights promoted to float16 counts as between the two; those of the lowest SQNR go first.
    """
    search = _Search(work, judge, form, store)
    choice, trials = smallest_within(_SETTINGS[form], len(search.worst()) if form == "int8" else 0, search.attempt, judge.search)
    if unmeasured(trials):
        choice = Choice(setting=form)
    elif choice is None:
        measured = trials[-1].measured
        told = f"{measured.metric} {measured.value:.6g}" if measured else "nothing"
        raise KeptError(f"no way to store its weights keeps the bound of [tool.mlbundle.accuracy]: {trials[-1].setting} gives {told}")
    if choice in search.unchanged:
        raise KeptError("only as it is does it keep the bound of [tool.mlbundle.accuracy]")
    folder, detail = search.made(choice)
    proof = work.checked(folder, search.measured(choice))
    return work.take(folder, {**detail, "comparison": proof, "search": trial_rows(trials)})


class _Search:
    """The candidates of one model; only the last one is on disk, with how it does in `measured`.

    `unchanged` are the choices that leave the model as it is: float16 for one that holds nothing else.
    """

    def __init__(self, work: Conversion, judge: Judge, form: Form, store: Store) -> None:
        self._work = work
        self._judge = judge
        self._form = form
        self._store = store
        self.unchanged: set[Choice] = set()
        self._last: tuple[Choice, Path, dict[str, Json]] | None = None
        self._worst: list[str] = []
        self._measured: dict[Choice, Measured | None] = {}

    def worst(self) -> list[str]:
        """Return the weights that are int8 where none is promoted, those that lose the most first."""
        if not self._worst:
            rows = self.made(Choice(setting="int8"))[1]["tensors"]
            lost = {row["name"]: _lost(row) for row in rows if row["after"].startswith("I8")}
            self._worst = sorted(lost, key=lambda name: (lost[name], name))
        return self._worst

    def made(self, choice: Choice) -> tuple[Path, dict[str, Json]]:
        """Return the folder with a candidate, and what is to be said of it."""
        if self._last is None or self._last[0] != choice:
            promoted = frozenset(self.worst()[: choice.promoted]) if choice.promoted else frozenset[str]()
            folder = self._work.folder("candidate")
            self._last = None
            self._last = (choice, folder, self._store("int8" if choice.setting == "int8" else "float16", promoted, folder))
        return self._last[1:]

    def attempt(self, choice: Choice) -> Trial:
        """Make a candidate, and measure it."""
        try:
            folder, _ = self.made(choice)
        except KeptError:
            if choice.setting == self._form:
                raise
            self.unchanged.add(choice)
            original = self._work.original
            return Trial(setting=choice.setting, size=original.size, measured=self._judge.measure(original.path, original.path))
        self._measured[choice] = self._work.measured(folder)
        setting = choice.setting + (f", {choice.promoted} of {len(self._worst)} weights float16" if choice.promoted else "")
        return Trial(setting=setting, size=self._work.size(folder), measured=self._measured[choice])

    def measured(self, choice: Choice) -> Measured | None:
        """Return how a candidate did that was attempted."""
        return self._measured.get(choice)


def _lost(row: Mapping[str, Json]) -> float:
    return math.inf if row["sqnr"] is None else float(row["sqnr"])
