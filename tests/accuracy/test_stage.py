from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.accuracy.stage import candidate_folder, model_files, model_root


@pytest.mark.parametrize(
    ("paths", "path", "root"),
    [
        ("app/m/config.json app/m/model.safetensors", "app/m/model.safetensors", "app/m"),
        ("config.json model.safetensors", "model.safetensors", ""),
        ("m/modules.json m/0_Transformer/config.json m/0_Transformer/w.bin", "m/0_Transformer/w.bin", "m"),
        ("m/modules.json m/config.json m/w.bin m/2_Dense/config.json m/2_Dense/w.bin", "m/2_Dense/w.bin", "m"),
        ("d/model_index.json d/unet/config.json d/unet/w.bin d/vae/config.json", "d/unet/w.bin", "d"),
        ("m/config.json m/text/config.json m/text/w.bin", "m/text/w.bin", "m"),
        ("app/config.json app/models/m/config.json app/models/m/w.bin", "app/models/m/w.bin", "app/models/m"),
        ("m/config.json m/onnx/model.onnx", "m/onnx/model.onnx", "m"),
        ("m/w.bin n/config.json", "m/w.bin", None),
        ("lone.onnx", "lone.onnx", None),
    ],
)
def test_the_root_of_a_model_is_the_folder_that_says_what_it_is(paths: str, path: str, root: str | None) -> None:
    assert model_root(paths.split(), path) == root
    assert model_root(set(paths.split()), path) == root


def test_the_files_of_a_model_are_those_below_its_root() -> None:
    paths = ["m/config.json", "m/a/w.bin", "mm/w.bin", "lone"]
    assert model_files(paths, "m") == ["m/config.json", "m/a/w.bin"]
    assert model_files(paths, "") == paths


@pytest.fixture
def original(tmp_path: Path) -> Path:
    root = tmp_path / "tree" / "m"
    for path in ("config.json", "model.safetensors", "text/config.json", "text/w.bin", "onnx/model.onnx"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"original {path}")
    return root


def contents(root: Path) -> dict[str, str]:
    """Return the files below a folder as a program that walks it sees them, through links."""
    found = {}
    for path in sorted(root.iterdir()):
        inner = {f"{path.name}/{name}": text for name, text in contents(path).items()} if path.is_dir() else {path.name: path.read_text()}
        found.update(inner)
    return found


def test_a_candidate_has_all_files_and_the_changed_ones_in_place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(original)
    changed = tmp_path / "changed"
    changed.write_text("changed")
    monkeypatch.chdir(tmp_path)
    replaced = {"model.safetensors": Path("changed"), "text/w.bin": None, "new/folder/x": changed, "text/w.safetensors": changed}
    folder = candidate_folder(Path("tree/m"), replaced, Path("candidate"))
    monkeypatch.chdir("/")
    after = contents(tmp_path / folder)
    gone = {path: text for path, text in before.items() if path not in replaced}
    assert after == {**gone, "model.safetensors": "changed", "new/folder/x": "changed", "text/w.safetensors": "changed"}
    assert contents(original) == before


def test_a_folder_of_the_original_that_is_a_link_is_not_written_into(original: Path, tmp_path: Path) -> None:
    (original / "linked").symlink_to("text")
    before = contents(original)
    folder = candidate_folder(original, {"linked/w.bin": None, "linked/more": tmp_path / "x"}, tmp_path / "candidate")
    (tmp_path / "x").write_text("x")
    assert contents(folder)["linked/more"] == "x"
    assert "linked/w.bin" not in contents(folder)
    assert contents(original) == before


def test_what_another_rewrite_is_writing_is_left_out(original: Path, tmp_path: Path) -> None:
    (original / ".model.safetensors.mlbundle").write_text("half")
    (original / "model.safetensors.mlbundle").write_text("packed")
    names = contents(candidate_folder(original, {}, tmp_path / "candidate"))
    assert ".model.safetensors.mlbundle" not in names
    assert "model.safetensors.mlbundle" in names


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a"])
def test_no_path_leads_out_of_the_folder(original: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="is no path below"):
        candidate_folder(original, {path: original / "config.json"}, tmp_path / "candidate")
    assert not (tmp_path / "candidate").exists()
