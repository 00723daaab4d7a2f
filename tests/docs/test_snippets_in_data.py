"""JSON, YAML and Dockerfiles in the documentation are what they say they are; and no block is of a language that nothing here reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any

import pytest
import yaml

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.profile import Profile
from hatch_mlbundle.runtime.models.descriptor import parse
from tests.docs.snippets import OUTPUT, SHELLS, Snippet, commands, of, snippets
from tests.projects import REPOSITORY

READ = {"toml", "python", *SHELLS, "json", "yaml", "dockerfile", *OUTPUT}

READERS: Mapping[str, Callable[[str, str], Any]] = {
    "mlbundle-manifest": lambda text, where: Manifest.from_json(text),
    "mlbundle-models": parse,
    "mlbundle-profile": Profile.from_json,
}
"""Of our formats, what reads them."""

TOP = {
    "compose": {"services"},
    "GitHub": {"name", True, "permissions", "jobs"},  # `on` is a boolean in YAML 1.1
    "GitLab": {"include", "build", "size"},
    "Kubernetes": {"apiVersion", "kind", "metadata", "spec"},
}
"""Keys at the top of what YAML is written for."""

ENTRIES = ({"type", "source", "target"}, {"run"}, {"uses"})
"""Keys that an entry of a list has, one of these."""


def test_every_block_has_a_reader() -> None:
    assert [(str(each), each.language) for each in snippets() if each.language not in READ] == []


def test_commands_are_shown_in_a_language_of_their_own() -> None:
    assert [str(each) for each in of(*OUTPUT) if each.text.startswith("$ ")] == []


@pytest.mark.parametrize("snippet", of("json"), ids=str)
def test_a_json_block_is_read_by_its_reader(snippet: Snippet) -> None:
    text = re.sub(r"([0-9a-f]+)…", lambda match: match[1].ljust(64, "0"), snippet.text)  # hashes are shown by their beginning
    document = json.loads(text)
    reader = READERS.get(document.get("format"))
    assert reader is None or reader(text, str(snippet))


@pytest.mark.parametrize("snippet", of("yaml"), ids=str)
def test_a_yaml_block_is_of_a_kind_that_is_known(snippet: Snippet) -> None:
    document = yaml.safe_load(dedent(snippet.text))
    if isinstance(document, list):  # a part of a file: volumes of a service, or steps of a job
        assert all(any(keys <= set(entry) for keys in ENTRIES) for entry in document)
    else:
        assert any(set(document) <= keys for keys in TOP.values())


def instructions(text: str) -> list[str]:
    """Return the instructions of a Dockerfile, each on one line."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("snippet", of("dockerfile"), ids=str)
def test_a_dockerfile_is_that_of_the_example(snippet: Snippet) -> None:
    example = (REPOSITORY / "examples/container/Containerfile.small").read_text(encoding="utf-8")
    own = {line.split(" --find-links")[0].split(" -r ")[0] for line in instructions(example)}
    for line in instructions(snippet.text):
        known = line.split(" -r ")[0] in own
        assert known or re.fullmatch(r"COPY --from=registry\.example/models/minilm:1 /minilm/ /app/models/minilm/", line)


def test_prompts_are_commands() -> None:
    assert [str(each) for each in of("console") if not commands(each)] == []
