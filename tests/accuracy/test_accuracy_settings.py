from __future__ import annotations

import math
from typing import Any

import pytest

from hatch_mlbundle.accuracy_settings import AccuracySettings
from hatch_mlbundle.config import Config, decisive_settings, read_config
from hatch_mlbundle.errors import ConfigurationError


def read(**settings: Any) -> Config:
    return read_config({"optimizers": [], "accuracy": settings}, {})


def faults(**settings: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(**settings)
    return [fault.removeprefix("tool.mlbundle.accuracy") for fault in caught.value.faults]


COMMAND = ["python", "judge.py", "{model}"]


def test_nothing_is_measured_where_nothing_is_asked_for() -> None:
    settings = read().settings.accuracy
    assert not settings.wanted
    assert "accuracy" not in decisive_settings(read())


@pytest.mark.parametrize(
    ("settings", "bound", "reduction"),
    [
        ({"samples": "s.npz"}, ("at-least", 0.999), "mean"),
        ({"samples": "s.jsonl", "metric": "top-1"}, ("at-least", 0.99), "mean"),
        ({"samples": "s.npz", "metric": "relative-error"}, ("at-most", 0.02), "worst"),
        ({"samples": "s.npz", "metric": "relative-error", "at-most": 1, "reduce": "mean"}, ("at-most", 1.0), "mean"),
        ({"samples": "s.npz", "at-least": 0.5, "reduce": "worst"}, ("at-least", 0.5), "worst"),
        ({"command": COMMAND, "at-least": 90}, ("at-least", 90.0), "mean"),
        ({"command": COMMAND, "at-most": -1.5}, ("at-most", -1.5), "mean"),
    ],
)
def test_each_way_to_measure_has_its_bound(settings: dict[str, Any], bound: tuple[str, float], reduction: str) -> None:
    accuracy = read(**settings).settings.accuracy
    assert accuracy.wanted
    assert (accuracy.bound, accuracy.reduction) == (bound, reduction)


@pytest.mark.parametrize(("settings", "good", "bad"), [({"at_least": 0.9}, 0.9, 0.89), ({"at_most": 0.9}, 0.9, 0.91)])
def test_a_bound_is_kept_up_to_itself_and_never_by_what_is_no_number(settings: dict[str, Any], good: float, bad: float) -> None:
    accuracy = AccuracySettings(command=("x", "{model}"), **settings)
    assert accuracy.keeps(good)
    assert not accuracy.keeps(bad)
    assert not accuracy.keeps(math.nan)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"metric": "cosine"} | {"timeout": 5}, ": needs `samples` to measure on, or a `command` that measures"),
        ({"at-least": 0.5}, ": needs `samples` to measure on, or a `command` that measures"),
        ({"samples": "s.csv"}, ".samples: must be an .npz or a .jsonl file, not 's.csv'"),
        ({"samples": "s.npz", "at-most": 0.5}, ".at-most: does not bound 'cosine'; use at-least"),
        ({"samples": "s.npz", "at-least": 0.9, "metric": "relative-error"}, ".at-least: does not bound 'relative-error'; use at-most"),
        ({"samples": "s.npz", "at-least": 99.0}, ".at-least: must be from -1 to 1 for 'cosine', not 99.0"),
        ({"samples": "s.npz", "at-least": -0.1, "metric": "top-1"}, ".at-least: must be from 0 to 1 for 'top-1', not -0.1"),
        ({"samples": "s.npz", "at-most": -0.1, "metric": "relative-error"}, ".at-most: must be 0 or more for 'relative-error', not -0.1"),
        ({"samples": "s.npz", "at-least": math.nan}, ".at-least: must be a finite number, not nan"),
        ({"samples": "s.npz", "timeout": 0}, ".timeout: must be 0.1 or more, not 0"),
        ({"samples": "s.npz", "timeout": math.nan}, ".timeout: must be 0.1 or more, not nan"),
        (
            {"samples": "s.npz", "metric": "cosin"},
            ".metric: must be one of 'cosine', 'relative-error', 'top-1', not 'cosin'; did you mean 'cosine'?",
        ),
        ({"samples": "s.npz", "atleast": 0.5}, ".atleast: unknown key; did you mean 'at-least'?"),
        ({"samples": 3}, ".samples: must be a string, not 3"),
        ({"command": "python judge.py {model}", "at-least": 1}, ".command: must be a list, not 'python judge.py {model}'"),
        ({"command": COMMAND}, ": `command` needs one of at-least and at-most, for the number that it prints"),
        ({"command": COMMAND, "at-least": 1, "at-most": 2}, ": `command` needs one of at-least and at-most, for the number that it prints"),
        ({"command": COMMAND, "at-least": math.inf}, ".at-least: must be a finite number, not inf"),
        ({"command": ["", "{model}"], "at-least": 1}, ".command[0]: must name a program"),
        ({"command": ["judge"], "at-least": 1}, ".command: must name {model}, the changed model, among its arguments"),
        (
            {"command": ["judge", "{model}", "{modle}"], "at-least": 1},
            ".command[2]: knows no {modle}; there are {model}, {original}, {project}, {python}",
        ),
        ({"command": COMMAND, "at-least": 1, "samples": "s.npz"}, ".samples: has no effect beside `command`; take one of them out"),
        ({"command": COMMAND, "at-least": 1, "reduce": "mean"}, ".reduce: has no effect beside `command`; take one of them out"),
        ({"command": COMMAND, "at-least": 1, "evaluator": "onnx"}, ".evaluator: has no effect beside `command`; take one of them out"),
    ],
)
def test_what_cannot_be_is_told_with_its_path(settings: dict[str, Any], told: str) -> None:
    assert told in faults(**settings)


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(samples="s.txt", **{"at-most": 0.5, "timeout": -1})) == 3


def test_the_manifest_says_what_was_asked() -> None:
    decisive = decisive_settings(read(samples="s.npz", timeout=3.0))
    assert decisive["accuracy"]["samples"] == "s.npz"
    assert decisive["accuracy"]["at-least"] == 0.999
    assert not {"timeout", "at-most", "reduce"} & set(decisive["accuracy"])
