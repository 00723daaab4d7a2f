from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import analyze, optimize
from hatch_mlbundle.errors import ArtifactError, ConfigurationError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import Manifest, SuggestionRow
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.suggestions import suggestions_report
from hatch_mlbundle.reports.terminal import as_text
from hatch_mlbundle.subjects import load_subject
from tests.bundles.wheelsmith import build_wheel
from tests.frozensmith import Item, craft

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEST = b"def test_it():\n    assert True\n" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with tests, two equal files and weights that are stored in more precision than needed."""
    root = tmp_path / "app"
    (root / "a" / "tests").mkdir(parents=True)
    for name in ("__init__.py", "tests/__init__.py"):
        (root / "a" / name).touch()
    for name in ("one.bin", "two.bin"):
        (root / "a" / name).write_bytes(np.arange(5000).tobytes())
    (root / "a" / "tests" / "test_a.py").write_bytes(TEST)
    save_file({"weight": np.random.default_rng(0).standard_normal((200, 100), np.float32)}, root / "a" / "model.safetensors")
    return root


def suggested(artifact: Path, **more: object) -> Manifest:
    options = argparse.Namespace(project=artifact.parent, quiet=True, suggest=True, **more)
    return load_subject(artifact, options).manifest


def by_name(manifest: Manifest) -> dict[str, SuggestionRow]:
    return {row.optimizer: row for row in manifest.suggestions}


def configure(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)


def test_each_step_says_what_it_would_save_by_itself(folder: Path) -> None:
    rows = by_name(suggested(folder))
    assert rows["test_data"].saved.installed == len(TEST)
    assert rows["deduplicate"].saved.installed == 40_000
    assert rows["quantize"].saved.installed == pytest.approx(200 * 100 * 2, abs=200)
    assert (rows["quantize"].lossless, rows["deduplicate"].lossless, rows["quantize"].files) == (False, True, 1)
    assert {"exclude", "exclude_modules", "prune_unused", "upx"} & set(rows) == set()
    sizes = [row.saved.installed for row in suggested(folder).suggestions]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_suggested_is_what_optimizing_saves(folder: Path) -> None:
    """With the very lines that are suggested."""
    row = by_name(suggested(folder))["quantize"]
    configure(folder.parent, row.configuration)
    registry = load_registry()
    job = prepare(project_config(folder.parent, registry), registry, project=folder.parent)
    steps = {step.optimizer: step for step in optimize(job, folder, folder.parent / "out").manifest.steps}
    assert list(steps) == ["test_data", "exclude", "strip", "deduplicate", "quantize"]  # the others are for frozen bundles
    assert steps["quantize"].saved.installed == row.saved.installed
    assert by_name(suggested(folder.parent / "out")) == {}


def test_nothing_is_changed(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    suggested(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_configured_steps_are_run_by_a_command(folder: Path) -> None:
    rows = by_name(suggested(folder))
    assert rows["test_data"].configuration == "# nothing to add: mlbundle optimize app"
    assert tomllib.loads(rows["test_data"].configuration) == {}


@pytest.mark.parametrize(
    ("listed", "new", "expected"),
    [
        (["exclude_modules", "deduplicate"], "test_data", ["exclude_modules", "test_data", "deduplicate"]),
        (["strip", "pack_weights", "upx"], "quantize", ["strip", "quantize", "pack_weights", "upx"]),
        (["externalize", "upx"], "quantize", ["quantize", "externalize", "upx"]),
        (["gpu_code"], "quantize", ["quantize", "gpu_code"]),
        (["strip"], "deduplicate", ["strip", "deduplicate"]),
        ([], "quantize", ["quantize"]),
    ],
)
def test_a_step_is_added_where_it_belongs(folder: Path, listed: list[str], new: str, expected: list[str]) -> None:
    configure(folder.parent, f"[tool.mlbundle]\noptimizers = {listed}")
    lines = by_name(suggested(folder))[new].configuration
    assert tomllib.loads(lines) == {"tool": {"mlbundle": {"optimizers": expected}}}
    assert max(map(len, lines.splitlines())) < 80


def test_the_lines_are_for_the_table_that_counts(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"pkg/__init__.py": b"", "pkg/tests/__init__.py": b"", "pkg/tests/test_a.py": TEST})
    table = "tool.hatch.build.targets.wheel.hooks.mlbundle"
    configure(tmp_path, f'[{table}]\noptimizers = ["strip"]')
    assert by_name(suggested(wheel))["test_data"].configuration == f'[{table}]\noptimizers = ["test_data", "strip"]'
    configure(tmp_path, f'[{table}]\nstrict = true\n[tool.mlbundle]\noptimizers = ["strip"]')
    assert by_name(suggested(wheel))["test_data"].configuration.startswith("[tool.mlbundle]\n")


def test_steps_use_the_options_of_their_tables(folder: Path) -> None:
    configure(folder.parent, '[tool.mlbundle.exclude]\npaths = ["*.bin"]\n[tool.mlbundle.quantize]\nenabled = false')
    rows = by_name(suggested(folder))
    assert rows["exclude"].saved.installed == 80_000
    assert "quantize" not in rows


def test_of_a_wheel_both_sizes_are_told(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"pkg/__init__.py": b"", "pkg/tests/__init__.py": b"", "pkg/tests/test_a.py": TEST})
    manifest = suggested(wheel)
    gone = sum(row.after.compressed or 0 for row in manifest.files if row.path.startswith("pkg/tests/") and row.after)
    assert by_name(manifest)["test_data"].saved.compressed == gone > 0
    assert "deduplicate" not in by_name(manifest)


def test_a_program_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    manifest = suggested(folder)
    (finding,) = (finding for finding in manifest.findings if finding.optimizer == "upx")
    assert finding.code == "MB813"
    assert "what it would save is not known: " in finding.message
    configure(folder.parent, '[tool.mlbundle]\nignore = ["MB813"]')
    assert suggested(folder).findings == ()


def test_a_broken_configuration_is_told(folder: Path) -> None:
    configure(folder.parent, '[tool.mlbundle.quantize]\ndtype = "int4"')
    with pytest.raises(ConfigurationError, match=r"tool\.mlbundle\.quantize\.dtype"):
        suggested(folder)


def test_hostile_names_stay_in_their_line(tmp_path: Path) -> None:
    root = tmp_path / "a\nb = 1 ' \u202e"
    (root / "pkg" / "tests").mkdir(parents=True)
    for name in ("__init__.py", "tests/__init__.py"):
        (root / "pkg" / name).touch()
    (root / "pkg" / "tests" / "test_a.py").write_bytes(TEST)
    row = by_name(suggested(root))["test_data"]
    assert "\n" not in row.configuration
    assert tomllib.loads(row.configuration) == {}


def test_an_empty_artifact_has_no_suggestions(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    manifest = suggested(tmp_path / "app")
    assert manifest.suggestions == ()
    assert "no other step would save anything" in as_text_of(manifest)


def as_text_of(manifest: Manifest) -> str:
    return "\n".join(as_text(part) for part in suggestions_report(manifest, asked=True, top=10))


def test_the_terminal_shows_what_to_write(folder: Path) -> None:
    manifest = suggested(folder)
    text = as_text_of(manifest)
    assert "could save 40.0 kB  quantize (lossy)  1 file\n  [tool.mlbundle]\n  optimizers = [\n" in text
    assert "may be the same bytes" in text
    assert max(map(len, text.splitlines())) <= 80
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_what_can_only_be_read_has_no_suggestions(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(craft([Item(name=b"a", data=b"x")]))
    with pytest.raises(ArtifactError, match="one-file executable, which can be analyzed only"):
        suggested(tmp_path / "one")


def test_without_trials_nothing_is_suggested(folder: Path) -> None:
    registry = load_registry()
    job = prepare(project_config(folder.parent, registry), registry, project=folder.parent)
    assert analyze(job, folder).suggestions == ()


def test_many_suggestions_of_a_hostile_manifest_are_cut_and_cannot_move_the_cursor(folder: Path) -> None:
    row = replace(by_name(suggested(folder))["quantize"], optimizer="a\x1b[2J", configuration="[a]\n\x1b]0;x\x07 = 1")
    manifest = replace(suggested(folder), suggestions=(row,) * 5)
    text = "\n".join(as_text(part) for part in suggestions_report(manifest, asked=False, top=2))
    assert "\x1b" not in text
    assert text.count("could save") == 2
    assert "[3 others]" in text
