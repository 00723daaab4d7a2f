"""Every command in the documentation: `mlbundle` runs in a folder where the paths exist, others here or in the test that is named."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatch_mlbundle import cli
from tests.docs.declared import FOLLOWED, NOT_RUN, OUTPUTS, RUN_ELSEWHERE, WITHOUT
from tests.docs.snippets import OUTPUT, SHELLS, Command, Snippet, commands, missing_tests, of, snippets, without
from tests.docs.workplace import make_workplace
from tests.projects import REPOSITORY

LOCAL = ("find", "ls", "sha256sum", "skopeo", "umoci")
"""Programs that are run for real, where they are; what they do stays in the folder."""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(prepared, tmp_path / "project"))
    monkeypatch.chdir(folder)
    return folder


def settings_above(snippet: Snippet) -> str:
    """Return the nearest configuration above a block on its page, without what would need models to run or a clean root."""
    above = [each for each in snippets() if each.page == snippet.page and each.line < snippet.line and each.language == "toml"]
    above = [each for each in above if "[tool.mlbundle" in each.text]
    text = above[-1].text if above else ""
    for table in WITHOUT.get(snippet.page, ()):
        text = re.sub(rf"^\[+tool\.mlbundle\.{table}.*?(?=^\[|\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    return text.replace("jail = true", "jail = false")


def headings(shown: Sequence[str]) -> list[str]:
    """Return the lines that no artifact decides: headings of tables and the like, which have no figures."""
    lines = [line for line in shown if not re.search(r"\d", line) and line.strip(" .")]
    return [" ".join(line.split()) for line in lines if not line.startswith(" ") or re.search(r"\S  +\S", line)]


def runs_as_a_user_would(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run `mlbundle` with these words in this process, as in a shell in the current folder; return what it prints."""
    expanded = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    capsys.readouterr()
    code = cli.main(expanded)
    printed = capsys.readouterr()
    assert code == 0 or (code == 1 and words[0] in ("check", "verify")), printed.err
    return printed.out + printed.err


def runs(command: Command, simple: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a simple command, or find it declared; what is shown below it has to be what is printed."""
    text = " ".join(simple)
    declared = [test for pattern, test in RUN_ELSEWHERE.items() if re.match(pattern, text)]
    if simple[0] == "mlbundle" and declared:
        cli._parsed(simple[1:])
    elif simple[0] == "mlbundle":
        printed = [" ".join(line.split()) for line in runs_as_a_user_would(simple[1:], capsys).splitlines()]
        assert [line for line in headings(command.shown) if line not in printed] == [], printed
    elif not declared and simple[0] in LOCAL:
        if not shutil.which(simple[0]):
            pytest.skip(f"{simple[0]} is not there")
        result = subprocess.run(simple, capture_output=True, text=True, check=True)
        assert not command.shown or sorted(result.stdout.splitlines()) == sorted(command.shown)
    else:
        assert declared or simple[0] in NOT_RUN, f"{text!r}: nothing here runs it; name the test that does in tests/docs/declared.py"


@pytest.mark.parametrize("snippet", without(FOLLOWED, *SHELLS), ids=str)
def test_what_is_shown_can_be_done(snippet: Snippet, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "pyproject.toml").write_text(settings_above(snippet), encoding="utf-8")
    for command in commands(snippet):
        for simple in command.simple:
            runs(command, simple, capsys)


@pytest.mark.parametrize("snippet", without(FOLLOWED, *OUTPUT), ids=str)
def test_output_that_stands_by_itself_is_of_a_command_or_a_test(
    snippet: Snippet, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = OUTPUTS[snippet.page, snippet.first]
    if by.startswith("$ "):
        (simple,) = Command(text=by[2:]).simple
        runs(Command(text=by[2:], shown=tuple(snippet.text.splitlines())), simple, capsys)
    else:
        assert missing_tests([by]) == []


def test_what_runs_elsewhere_does() -> None:
    assert missing_tests([*FOLLOWED.values(), *RUN_ELSEWHERE.values()]) == []


@pytest.mark.parametrize(("page", "test"), FOLLOWED.items(), ids=str)
def test_what_follows_a_page_reads_it(page: str, test: str) -> None:
    text = (REPOSITORY / test.partition("::")[0]).read_text(encoding="utf-8")
    path = REPOSITORY / page
    assert path.is_file()
    assert (path.parent.name if path.name == "README.md" else path.name) in text


def test_nothing_is_declared_in_vain() -> None:
    texts = [" ".join(simple) for snippet in of(*SHELLS) for command in commands(snippet) for simple in command.simple]
    assert [pattern for pattern in RUN_ELSEWHERE if not any(re.match(pattern, text) for text in texts)] == []
    assert [name for name in NOT_RUN if not any(text.startswith(f"{name} ") for text in texts)] == []
    there = {(each.page, each.first) for each in of(*OUTPUT)}
    assert [each for each in OUTPUTS if each not in there] == []
