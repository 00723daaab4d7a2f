"""docs/ci.md says what the action and the template take."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
INPUTS = yaml.safe_load((ROOT / "ci" / "github" / "action.yml").read_text(encoding="utf-8"))["inputs"]
VARIABLES = yaml.safe_load((ROOT / "ci" / "gitlab" / "mlbundle.yml").read_text(encoding="utf-8"))[".mlbundle-size"]["variables"]


def rows(heading: str) -> dict[str, str]:
    """Return the names and defaults of the table under a heading's first cell."""
    (table,) = re.findall(rf"^\| {heading} \| default .*\n\|.*\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)
    return dict(re.findall(r"^\| `(.*?)` \| (.*?) \|", table, flags=re.MULTILINE))


def written(default: str) -> str:
    return f"`{default}`" if default else "empty"


def test_every_input_is_told_with_its_default() -> None:
    told = rows("input")
    assert list(told) == list(INPUTS)
    for name, each in INPUTS.items():
        expected = "required" if each.get("required") else "the job's" if name == "token" else written(each["default"])
        assert told[name] == expected


def test_every_variable_is_told_with_its_default() -> None:
    told = rows("variable")
    assert list(told) == [*VARIABLES, "MLBUNDLE_TOKEN"]
    for name, default in VARIABLES.items():
        assert told[name] == ("required" if name == "MLBUNDLE_ARTIFACT" else written(default))


def test_the_recipes_use_what_there_is() -> None:
    github, gitlab = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
    (step,) = (step for step in github["jobs"]["size"]["steps"] if "ci/github" in step.get("uses", ""))
    assert set(step["with"]) <= set(INPUTS)
    assert (ROOT / step["uses"].removeprefix("OWNER/hatch-mlbundle/").partition("@")[0] / "action.yml").is_file()
    assert set(gitlab["size"]["variables"]) <= set(VARIABLES)
    assert (ROOT / gitlab["include"][0]["file"]).is_file()


@pytest.mark.skipif(not shutil.which("actionlint"), reason="actionlint is not installed")
def test_actionlint_finds_nothing_in_the_recipe(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    workflow = tmp_path / ".github" / "workflows" / "size.yml"
    workflow.parent.mkdir(parents=True)
    recipe = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    workflow.write_text(recipe.replace("OWNER/hatch-mlbundle/ci/github@REF", "./ci/github"), encoding="utf-8")
    shutil.copytree(ROOT / "ci", tmp_path / "ci")
    checked = subprocess.run(["actionlint", "-no-color"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (checked.stdout, checked.returncode) == ("", 0)
