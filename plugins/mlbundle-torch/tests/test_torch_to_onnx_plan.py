"""Conversion to ONNX as far as it needs no torch: options, planning, and what is told where torch is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torchmodels import net_table, options_of

from hatch_mlbundle.errors import ConfigurationError, MissingLibraryError
from hatch_mlbundle.model import Convert, Keep
from mlbundle_torch.torch_to_onnx import TorchToOnnx
from tests.fakes import FakeContext, bundle_of


def optimizer(*models: dict[str, Any], **options: Any) -> TorchToOnnx:
    return TorchToOnnx(options_of(TorchToOnnx, {"models": list(models), **options}))


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "m/config.json", "m/tokenizer.json", "m/model-00001-of-00002.safetensors", "m/model-00002-of-00002.safetensors")
    put(tmp_path, "m/model.safetensors.index.json", "m/pytorch_model.bin", "m/README.md", "net/net.pt")
    (tmp_path / "m/config.json").write_text('{"model_type": "bert"}')
    return tmp_path


def test_what_else_lies_in_a_transformers_folder_is_no_model(folder: Path) -> None:
    put(folder, "m/training_args.bin", "m/optimizer.pt", "m/2_Dense/config.json", "m/2_Dense/model.safetensors", "mm/net.pt")
    changes = list(optimizer({"path": "m"}).plan(bundle_of(folder), FakeContext(folder)))
    assert [change.path for change in changes] == ["m/model-00001-of-00002.safetensors"]
    put(folder, "m/modules.json")
    (whole,) = optimizer({"path": "m"}).plan(bundle_of(folder), FakeContext(folder))
    assert isinstance(whole, Convert)
    assert {"m/2_Dense/config.json", "m/2_Dense/model.safetensors", "m/modules.json"} < set(whole.reads)
    assert not {"m/optimizer.pt", "mm/net.pt"} & set(whole.reads)
    (alone,) = optimizer({"path": "m/optimizer.pt"}).plan(bundle_of(folder), FakeContext(folder))
    assert alone.path == "m/optimizer.pt"


@pytest.mark.parametrize("config", ["", "[]", "{}", "null", '{"architectures": []}', "[" * 100_000])
def test_config_that_names_no_model_makes_no_model_of_a_folder(config: str, folder: Path) -> None:
    (folder / "m/config.json").write_text(config)
    changes = list(optimizer({"path": "m"}).plan(bundle_of(folder), FakeContext(folder)))
    assert all(isinstance(change, Convert) and change.reads == (change.path,) for change in changes)


def test_a_transformers_folder_is_one_model(folder: Path) -> None:
    (change,) = optimizer({"path": "m"}).plan(bundle_of(folder), FakeContext(folder))
    assert isinstance(change, Convert)
    weights = ("m/model-00001-of-00002.safetensors", "m/model-00002-of-00002.safetensors", "m/model.safetensors.index.json")
    assert change.sources == ()
    assert change.outputs == ("m/model.onnx", "m/model.onnx.data")
    assert change.reads == (*weights, "m/config.json", "m/tokenizer.json")
    assert change.may_grow


def test_the_original_goes_only_when_asked(folder: Path) -> None:
    (change,) = optimizer(net_table("net/*.pt"), **{"drop-original": True}).plan(bundle_of(folder), FakeContext(folder))
    assert isinstance(change, Convert)
    assert (change.sources, change.outputs) == (("net/net.pt",), ("net/net.onnx", "net/net.onnx.data"))


def test_a_model_that_has_its_onnx_file_stays(folder: Path) -> None:
    put(folder, "net/net.onnx")
    assert list(optimizer(net_table("net.pt")).plan(bundle_of(folder), FakeContext(folder))) == [
        Keep(path="net/net.pt", reason="net/net.onnx is there already")
    ]


def test_a_path_that_matches_nothing_is_told(folder: Path) -> None:
    context = FakeContext(folder)
    assert list(optimizer({"path": "*.onnx"}, {"path": "m/README.md"}).plan(bundle_of(folder), context)) == []
    assert context.codes == ["MB731", "MB731"]


FAULTS = {
    "opset": ({"opset": 12}, "opset: must be from 15 to 26"),
    "tolerance": ({"tolerance": 0}, "tolerance: must be more than 0"),
    "single file": ({"single-file": "3 GB"}, "single-file: must be at most 2 GB"),
    "no path": ({"models": [{}]}, r"models\[0\].path: is missing"),
    "factory": ({"models": [net_table("a", "os.system")]}, r"models\[0\].factory: must be like"),
    "no inputs": ({"models": [{"path": "a", "factory": "a:b"}]}, r"models\[0\].inputs: is missing"),
    "shape": ({"models": [{"path": "a", "inputs": [{"name": "x", "shape": "?"}]}]}, r"inputs\[0\].shape: '\?' is no axis"),
    "nameless": ({"models": [{"path": "a", "inputs": [{"shape": "2"}]}]}, r"inputs\[0\].name: is missing"),
    "twice": ({"models": [{"path": "a", "outputs": ["y", "y"]}]}, "outputs: a name is listed twice"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_of_the_configuration_have_their_path(case: str) -> None:
    table, message = FAULTS[case]
    with pytest.raises(ConfigurationError, match=f"tool.mlbundle.torch_to_onnx.*{message}"):
        TorchToOnnx(options_of(TorchToOnnx, table)).programs()


def bare_python(folder: Path) -> Path:
    """Return an interpreter that has the standard library alone."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return path


def test_an_interpreter_without_torch_is_told_in_one_line(tmp_path: Path) -> None:
    python = bare_python(tmp_path)
    with pytest.raises(MissingLibraryError) as caught:
        optimizer(python=str(python)).programs()
    assert "torch" in str(caught.value)
    assert str(python) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interpreter_is_looked_for_in_the_project(tmp_path: Path) -> None:
    bare_python(tmp_path)
    relative = optimizer(python="python")
    assert relative.programs() == {}
    with pytest.raises(MissingLibraryError, match="pip install mlbundle-torch"):
        relative.inputs(tmp_path)


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingLibraryError, match="is not there; correct"):
        optimizer(python=str(tmp_path / "nowhere")).programs()


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = "import sys, mlbundle_torch.plugin; sys.exit(str({'torch', 'numpy', 'onnx', 'transformers'} & sys.modules.keys() or ''))"
    path = ":".join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (1, "")


def test_the_plugin_is_found_by_its_entry_point(tmp_path: Path) -> None:
    about = tmp_path / "mlbundle_torch-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mlbundle-torch\nVersion: 9.9\n")
    (about / "entry_points.txt").write_text("[mlbundle]\ntorch = mlbundle_torch.plugin\n")
    code = """
from hatch_mlbundle.plugins import load_registry
registry = load_registry()
print(*sorted(name for name, each in registry.items() if each.distribution == "mlbundle-torch"), *registry.evaluators)
"""
    path = ":".join([str(tmp_path), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60)
    found = set(done.stdout.split())
    assert {"prune_weights", "torch_to_onnx", "sentence_transformers", "transformers"} <= found, done.stderr


def test_the_cache_sees_a_change_of_the_factory(tmp_path: Path) -> None:
    from mlbundle_torch.projectmodules import source_digest

    (tmp_path / "src/net").mkdir(parents=True)
    (tmp_path / "src/net/__init__.py").write_text("")
    nothing = source_digest(tmp_path, "other:f")
    first = source_digest(tmp_path, "net.parts:f")
    (tmp_path / "src/net/layers.py").write_text("x = 1")
    assert len({nothing, first, source_digest(tmp_path, "net.parts:f")}) == 3


def test_each_option_and_finding_is_described() -> None:
    import re

    from hatch_mlbundle.reference import option_entries
    from mlbundle_torch import conversion_options, prune_weights

    docs = Path(__file__).parents[3] / "docs"
    pages = {"torch-conversion.md": conversion_options, "model-pruning.md": prune_weights}
    for page, module in pages.items():
        text = (docs / page).read_text()
        classes = [
            each for name, each in vars(module).items() if name in ("TorchToOnnxOptions", "TorchModel", "ModelInput", "PruneWeightsOptions")
        ]
        own = {entry.name: entry.doc for each in classes for entry in option_entries(each)} | {}
        for name, doc in own.items():
            if name not in ("enabled", "include", "exclude", "timeout"):
                assert f"| `{name}` |" in text
                assert doc.replace("|", "\\|") in text or doc in text, doc
    source = "".join(path.read_text() for path in Path(conversion_options.__file__).parent.rglob("*.py"))
    known = set(re.findall(r"^## (MB\d+)", (docs / "findings.md").read_text(), re.MULTILINE))
    assert set(re.findall(r'"(MB7\d\d)"', source)) <= known
