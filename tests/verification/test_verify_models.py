"""Models that leave, verified: they are lent to the result, and whole models come back with what the descriptor says of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hatch_mlbundle
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.explore import explore
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, parse
from tests.bundledmodels import below, safetensors_file, transformers_files, write_files

_MAIN = """\
import os, pathlib, sys
from hatch_mlbundle.runtime.models import model_path
here = pathlib.Path(__file__).parent
sizes = {}
for name, old in (("bert", "bert"), ("yolo", "yolo.pt")):
    place = here / old if name in sys.argv[2:] else model_path(name, local=here / old)
    parts = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    if not parts:
        sys.exit(f"{name} is gone")
    print(name, place.name if name == "yolo" else "", [(path.name, len(path.read_bytes())) for path in parts])
with open(sys.argv[1], "a") as stream:
    print(os.environ.get("MLBUNDLE_MODELS", "-"), os.environ.get("MLBUNDLE_OFFLINE", "-"), file=stream)
"""
FILES = {"main.py": _MAIN, **below("bert", transformers_files()), "yolo.pt": safetensors_file(2), "words.txt": "a"}


def job(folder: Path, *steps: str, old: tuple[str, ...] = (), paths: tuple[str, ...] = ("words.txt",), **verify: Any) -> Job:
    registry = load_registry()
    run = [sys.executable, "{bundle}/main.py", str(folder / "seen"), *old]
    command = {"run": run, "environment": [f"PYTHONPATH={Path(hatch_mlbundle.__file__).parents[1]}"]}
    table = {"optimizers": [*steps, "externalize"], "externalize": {"min-size": 0}, **{step: {"paths": list(paths)} for step in steps}}
    return prepare(project_config(folder, registry, {**table, "verify": {"commands": [command], **verify}}), registry, project=folder)


def verified(folder: Path, *steps: str, **options: Any) -> Result:
    return optimize(job(folder, *steps, **options), write_files(folder / "source", FILES), folder / "small")


def left(folder: Path) -> list[str]:
    path = folder / FILE_NAME
    return [model.name for model in parse(path.read_bytes(), "")] if path.exists() else []


def put_back(result: Result) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.path) for finding in result.manifest.findings]


def test_the_result_is_lent_what_left_and_the_untouched_artifact_nothing(tmp_path: Path) -> None:
    assert put_back(verified(tmp_path, "exclude")) == []
    assert left(tmp_path / "small") == left(tmp_path / "small.models") == ["bert", "yolo"]
    before, watched, after = (tmp_path / "seen").read_text().splitlines()
    assert before == watched == "- -"
    folder, _, offline = after.rpartition(" ")
    assert (Path(folder).name, offline, Path(folder).exists()) == ("small.models", "1", False)


def test_a_model_that_is_loaded_from_its_old_place_comes_back_whole(tmp_path: Path) -> None:
    result = verified(tmp_path, old=("bert",))
    ((code, path),) = put_back(result)
    assert code == "MB601"
    assert str(path).startswith("bert/")
    assert left(tmp_path / "small") == left(tmp_path / "small.models") == ["yolo"]
    assert {path.name for path in (tmp_path / "small/bert").iterdir()} == set(transformers_files())
    assert {row.model for row in result.manifest.companions} == {"yolo"}
    assert {row.path for row in result.manifest.files if row.after is None} == {"yolo.pt"}


def test_a_model_leaves_as_it_was_where_what_a_step_made_of_it_is_put_back(tmp_path: Path) -> None:
    result = verified(tmp_path, "exclude", paths=("bert/vocab.txt", "words.txt"))
    assert put_back(result) == [("MB601", "bert/vocab.txt")]
    assert left(tmp_path / "small") == left(tmp_path / "small.models") == ["bert", "yolo"]
    assert sorted(path.name for path in (tmp_path / "small").rglob("*")) == ["main.py", FILE_NAME]
    assert (tmp_path / "small.models/bert/vocab.txt").read_bytes() == FILES["bert/vocab.txt"]
    (told, _) = parse((tmp_path / "small" / FILE_NAME).read_bytes(), "")
    assert "vocab.txt" in {file.path for file in told.files}
    assert {row.path for row in result.manifest.files if row.after is None} >= {f"bert/{name}" for name in transformers_files()}


def test_where_all_come_back_there_is_no_descriptor(tmp_path: Path) -> None:
    result = verified(tmp_path, "exclude", old=("bert", "yolo"))
    assert len(put_back(result)) == 2
    assert left(tmp_path / "small") == []
    assert not (tmp_path / "small.models").exists()
    assert not (tmp_path / "small/words.txt").exists()
    assert FILE_NAME not in {row.path for row in result.manifest.files}


def test_what_had_left_before_is_found_beside_the_artifact(tmp_path: Path) -> None:
    verified(tmp_path)
    (tmp_path / "seen").unlink()
    write_files(tmp_path / "small", {"words.txt": "new"})
    assert put_back(optimize(job(tmp_path, "exclude"), tmp_path / "small")) == []
    lent = [line.rpartition(" ")[0].split(":") for line in (tmp_path / "seen").read_text().splitlines()]
    assert [folders[-1] for folders in lent] == [str(tmp_path / "small.models")] * 3


def test_each_step_and_each_choice_is_lent_its_models(tmp_path: Path) -> None:
    result = verified(tmp_path, "exclude", **{"each-step": True})
    assert result.verification is not None
    assert [row.step for row in result.verification.steps] == ["as it is", "exclude", "externalize", "in all"]
    assert {problem for row in result.verification.steps for problem in row.problems} == {None}
    choices = explore(job(tmp_path, "exclude"), tmp_path / "source", repeat=1).choices
    assert {choice.name: choice.verdict for choice in choices if choice.form == "folder"} == dict.fromkeys(
        ["as it is", "exclude", "externalize", "all together"], "same"
    )


def test_a_command_that_writes_to_models_disturbs_nobody_else(tmp_path: Path) -> None:
    main = _MAIN.replace("with open(", "(place.parent / 'litter').write_text('x') if place.parent.name == 'yolo' else None\nwith open(")
    write_files(tmp_path / "source", {**FILES, "main.py": main})
    result = optimize(job(tmp_path), tmp_path / "source", tmp_path / "small")
    assert [finding.code for finding in result.manifest.findings] == ["MB604"]
    assert left(tmp_path / "small") == ["bert", "yolo"]
