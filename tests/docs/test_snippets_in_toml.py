"""Every TOML block is read as its reader reads it: a key, a step, an extra or a back end that is not there fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement

from docs.our_plugins import optimizers_of, our_optimizers
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.freezing.options import _HATCHS_OWN as TARGET_KEYS
from hatch_mlbundle.freezing.options import TABLE as FROZEN
from hatch_mlbundle.freezing.options import FrozenOptions
from hatch_mlbundle.optimizer import Options
from hatch_mlbundle.schema import read_table
from tests.docs.python_blocks import OFFERS, names_of
from tests.docs.snippets import Snippet, of, pages, snippets
from tests.projects import REPOSITORY

try:
    import tomllib
except ImportError:
    import tomli as tomllib  # type: ignore[no-redef]

BACK_ENDS = {
    "hatchling.build",
    "flit_core.buildapi",
    "maturin",
    "mesonpy",
    "poetry.core.masonry.api",
    "scikit_build_core.build",
    "setuptools.build_meta",
    "uv_build",
}


@cache
def ours() -> dict[str, type[Options]]:
    return {each.name: each.options_type for each in our_optimizers()}


def of_the_page(page: str) -> dict[str, type[Options]]:
    """Return the options of the optimizers that the page's Python blocks register, or the distribution that it is the README of."""
    offering = (each for each in snippets() if each.page == page and each.language == "python" and OFFERS in each.text)
    beside = (REPOSITORY / page).with_name("pyproject.toml")
    own = optimizers_of(beside.parent) if beside.is_file() else {}
    return {each.name: each.options_type for each in (*own, *(each for snippet in offering for each in names_of(snippet)[OFFERS]()))}


def tables_at(document: Mapping[str, Any], *keys: str) -> Iterator[Mapping[str, Any]]:
    """Yield the table at these keys, of which `*` stands for any."""
    if not keys:
        yield document
    elif keys[0] == "*":
        for each in document.values():
            if isinstance(each, Mapping):
                yield from tables_at(each, *keys[1:])
    elif keys[0] in document:
        yield from tables_at(document[keys[0]], *keys[1:])


def faults_of(document: Mapping[str, Any], known: Mapping[str, type[Options]]) -> list[str]:
    faults: list[str] = []
    hooks = [("build", "hooks"), ("build", "targets", "*", "hooks"), ("build", "targets", "frozen")]
    places = [("tool", "mlbundle"), *(("tool", "hatch", *hook, "mlbundle") for hook in hooks)]
    for table in (table for place in places for table in tables_at(document, *place)):
        try:
            read_config({key: value for key, value in table.items() if key not in TARGET_KEYS}, known)
        except ConfigurationError as error:
            faults += error.faults
    for table in tables_at(document, *FROZEN.split(".")):
        own = {key: value for key, value in table.items() if key not in (*TARGET_KEYS, "mlbundle")}
        read_table(FrozenOptions, own, FROZEN, faults)
    return faults


def extras_that_are_not_there(requirements: list[str]) -> list[str]:
    """Return the extras of our own distributions that no pyproject.toml has."""
    known = {}
    for path in [REPOSITORY / "pyproject.toml", *REPOSITORY.glob("plugins/*/pyproject.toml")]:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        known[project["name"]] = set(project.get("optional-dependencies", {}))
    parsed = [Requirement(each) for each in requirements]
    return [f"{each.name}[{extra}]" for each in parsed for extra in sorted(each.extras - known.get(each.name, each.extras))]


def test_extras_that_sentences_and_commands_name_are_there() -> None:
    named = {each[0] for text in pages().values() for each in re.findall(r"\b((hatch-mlbundle|mlbundle-\w+)\[[\w,]+\])", text)}
    assert len(named) > 5
    assert extras_that_are_not_there(sorted(named)) == []


@pytest.mark.parametrize("snippet", of("toml"), ids=str)
def test_a_toml_block_is_taken_by_its_reader(snippet: Snippet) -> None:
    document = tomllib.loads(snippet.text)
    assert faults_of(document, {**ours(), **of_the_page(snippet.page)}) == []
    system = document.get("build-system", {})
    assert extras_that_are_not_there(system.get("requires", [])) == []
    assert system.get("build-backend", "hatchling.build") in BACK_ENDS


def test_what_is_wrong_would_be_told() -> None:
    document = tomllib.loads("[tool.mlbundle]\noptimizer = []\n[tool.hatch.build.targets.frozen]\nentrypoint = 'a'\n")
    told = faults_of(document, ours())
    assert len(told) == 2
    assert extras_that_are_not_there(["hatch-mlbundle[froze]", "mlbundle-onnx[slim]"]) == ["hatch-mlbundle[froze]"]
