"""The step for PyTorch files: what it plans for a bundle, and what it makes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Change, Convert, Drop, Keep, Rewrite
from hatch_mlbundle.optimizers.torch_files import TorchFiles, TorchFilesOptions
from hatch_mlbundle.plugins import load_registry
from tests.fakes import FakeContext, bundle_of
from tests.models.torchsmith import Global, Made, Storage, archive, numbers, ordered, pickled, save, tensor, view

INDEX = "pytorch_model.bin.index.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def plan(root: Path, *, excluded: tuple[str, ...] = (), **options: Any) -> tuple[dict[str, Change], FakeContext]:
    context = FakeContext(root, excluded=excluded)
    changes = list(TorchFiles(TorchFilesOptions(**options)).plan(bundle_of(root), context))
    assert len({change.path for change in changes}) == len(changes)
    return {change.path: change for change in changes}, context


def converted(root: Path, path: str, **options: Any) -> tuple[Path, dict[str, Any], Convert]:
    """Plan and carry out the conversion of a model; return the folder of the outputs, their details and the change."""
    changes, context = plan(root, to="safetensors", **options)
    change = changes[path]
    assert isinstance(change, Convert)
    work = root.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    step = TorchFiles(TorchFilesOptions(to="safetensors", **options))
    return work / "target", dict(step.convert(context.convert_task(change, work), context)), change


def run(root: Path, **options: Any) -> Manifest:
    """Carry the step out on the folder, in place."""
    registry = load_registry()
    settings = {"optimizers": ["torch_files"], "torch_files": options, "cache": {"enabled": False}}
    config = project_config(root.parent, registry, settings)
    return optimize(prepare(config, registry, project=root.parent), root, root).manifest


def checkpoint() -> dict[str, Any]:
    state = {"state": {0: {"exp_avg": tensor(20_000), "step": 3}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 3, "model": ordered({"w": tensor(100)}, _metadata=1), "optimizer": state}


def arguments() -> Any:
    return Made(Global("transformers.training_args", "TrainingArguments"), ())


def shards(root: Path) -> None:
    save(root / "pytorch_model-00001-of-00002.bin", {"a": tensor(100), "b": tensor(50)})
    save(root / "pytorch_model-00002-of-00002.bin", {"c": tensor(70, start=9)})
    places = {"a": 1, "b": 1, "c": 2}
    weight_map = {name: f"pytorch_model-0000{number}-of-00002.bin" for name, number in places.items()}
    (root / INDEX).write_text(json.dumps({"metadata": {"total_size": 880}, "weight_map": weight_map}))


def test_only_what_can_get_smaller_is_planned(root: Path) -> None:
    save(root / "whole.pt", {"w": tensor(10_000)})
    save(root / "training.ckpt", checkpoint())
    save(root / "view.pth", {"w": view(Storage(numbers(10_000)), (10,))})
    save(root / "little.pt", {"w": view(Storage(numbers(100_000)), (99_990,))})
    save(root / "named_otherwise.weights", checkpoint())
    (root / "data.bin").write_bytes(bytes(5000))
    (root / "link.pt").symlink_to("view.pth")
    changes, context = plan(root)
    assert {path: (type(change), change.reason, getattr(change, "saves", 0)) for path, change in changes.items()} == {
        "training.ckpt": (Rewrite, "the entry 'optimizer' (80.0 kB)", 80_000),
        "view.pth": (Rewrite, "parts of storages that no tensor is in (40.0 kB)", 39_960),
    }
    assert context.codes == []


def test_what_is_excluded_or_to_be_kept_is_left_alone(root: Path) -> None:
    save(root / "a.pt", checkpoint())
    assert plan(root, excluded=("a.pt",))[0] == {}
    assert plan(root, drop_training_state=False)[0] == {}


def test_what_torch_cannot_be_trusted_with_stays_and_says_why(root: Path) -> None:
    save(root / "training_args.bin", arguments())
    save(root / "optimizer.pt", checkpoint()["optimizer"])
    (root / "cut.pt").write_bytes(archive(*pickled(checkpoint()))[:5000])
    (root / "script.pt").write_bytes(archive(*pickled({}), extra={"constants.pkl": b""}))
    (root / "old.pt").write_bytes(bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e"))
    changes, context = plan(root)
    assert {path: type(change) for path, change in changes.items()} == {"old.pt": Keep, "optimizer.pt": Keep, "script.pt": Keep}
    assert {finding.path: finding.code for finding in context.findings} == {"cut.pt": "MB711", "training_args.bin": "MB712"}
    told = {finding.path: finding.message for finding in context.findings}
    assert told["training_args.bin"].startswith(
        "holds other objects than tensors and plain values: transformers.training_args.TrainingArguments"
    )
    assert not any(str(root) in message for message in told.values())


def test_a_second_copy_of_weights_goes_where_every_byte_is_in_the_safetensors(root: Path) -> None:
    tied = Storage(numbers(6))
    save(root / "pytorch_model.bin", {"embed": view(tied, (6,)), "head": view(tied, (6,)), "w": tensor(3)})
    save_file({"embed": np.arange(6, dtype="f4"), "w": np.arange(3, dtype="f4")}, root / "model.safetensors")
    save(root / "other" / "pytorch_model.bin", {"w": tensor(3, start=1)})
    save_file({"w": np.arange(3, dtype="f4")}, root / "other" / "model.safetensors")
    save(root / "plain.pt", {"w": tensor(3)})
    save_file({"w": np.arange(3, dtype="f4")}, root / "plain.safetensors")
    changes, context = plan(root)
    assert changes == {
        "other/pytorch_model.bin": Keep(
            path="other/pytorch_model.bin", reason="model.safetensors beside it has no tensor 'w' like its own"
        ),
        "pytorch_model.bin": Drop(
            path="pytorch_model.bin", reason="model.safetensors beside it, which loaders prefer, holds the same tensors"
        ),
    }
    assert context.codes == []
    assert plan(root, drop_duplicates=False)[0] == {}


def test_shards_go_together_with_their_index_or_not_at_all(root: Path) -> None:
    shards(root)
    arrays = {"a": np.arange(100, dtype="f4"), "b": np.arange(50, dtype="f4"), "c": np.arange(9, 79, dtype="f4")}
    save_file(arrays, root / "model.safetensors")
    assert {path: type(change) for path, change in plan(root)[0].items()} == {
        "pytorch_model-00001-of-00002.bin": Drop,
        "pytorch_model-00002-of-00002.bin": Drop,
        INDEX: Drop,
    }
    save_file({**arrays, "c": arrays["c"] + 1}, root / "model.safetensors")
    assert {type(change) for change in plan(root)[0].values()} == {Keep}


def test_shards_that_nothing_finds_do_not_stand_for_what_is_loaded(root: Path) -> None:
    save(root / "pytorch_model.bin", {"a": tensor(3), "b": tensor(4)})
    save_file({"a": np.arange(3, dtype="f4")}, root / "model-00001-of-00002.safetensors")
    save_file({"b": np.arange(4, dtype="f4")}, root / "model-00002-of-00002.safetensors")
    (kept,) = plan(root)[0].values()
    reason = "model-00001-of-00002.safetensors beside it is a part of a model whose index is not there"
    assert kept == Keep(path="pytorch_model.bin", reason=reason)
    (root / "model.safetensors.index.json").write_text("{}")
    assert isinstance(plan(root)[0]["pytorch_model.bin"], Drop)


def test_what_a_link_leads_to_does_not_go(root: Path) -> None:
    save(root / "m" / "pytorch_model.bin", {"w": tensor(3)})
    (root / "m" / "best.bin").symlink_to("pytorch_model.bin")
    changes, context = plan(root, to="safetensors")
    assert changes == {}
    assert [(each.code, each.message) for each in context.findings] == [
        ("MB713", "m/best.bin links to it, and would lead nowhere; it stays a PyTorch file")
    ]
    save_file({"w": np.arange(3, dtype="f4")}, root / "m" / "model.safetensors")
    (kept,) = plan(root)[0].values()
    reason = "model.safetensors beside it has not the name that m/best.bin links to"
    assert kept == Keep(path="m/pytorch_model.bin", reason=reason)


def test_no_second_model_comes_before_the_one_that_is_loaded(root: Path) -> None:
    save(root / "pytorch_model.bin", {"w": tensor(300)})
    save_file({"w": np.arange(1, 301, dtype="f4")}, root / "model-00001-of-00001.safetensors")
    (root / "model.safetensors.index.json").write_text("{}")
    changes, context = plan(root, to="safetensors", drop_duplicates=False)
    assert changes == {}
    assert [each.message.partition(";")[0] for each in context.findings] == [
        "model.safetensors.index.json is there already, and another could be taken for it"
    ]


def test_weights_go_together_or_not_at_all(root: Path) -> None:
    shards(root)
    arrays = {"a": np.arange(100, dtype="f4"), "b": np.arange(50, dtype="f4"), "c": np.arange(9, 79, dtype="f4")}
    save_file(arrays, root / "model.safetensors")
    assert len(plan(root)[0]) == 3
    assert plan(root, excluded=("pytorch_model-00002-of-00002.bin",))[0] == {}
    assert plan(root, excluded=(INDEX,))[0] == {}


def test_more_than_the_tensors_of_the_safetensors_is_no_second_copy(root: Path) -> None:
    save(root / "pytorch_model.bin", {"w": tensor(3), "optimizer": checkpoint()["optimizer"]})
    save_file({"w": np.arange(3, dtype="f4")}, root / "model.safetensors")
    assert isinstance(plan(root)[0]["pytorch_model.bin"], Rewrite)
    change = plan(root, drop_training_state=False)[0].get("pytorch_model.bin")
    assert change is None


def test_a_damaged_neighbour_is_no_reason_to_drop_anything(root: Path) -> None:
    save(root / "pytorch_model.bin", {"w": tensor(3)})
    (root / "model.safetensors").write_bytes(b"\xff" * 100)
    assert {type(change) for change in plan(root)[0].values()} == {Keep}


def test_a_state_dict_becomes_safetensors(root: Path) -> None:
    save(root / "m" / "pytorch_model.bin", {"w": tensor(100), "turned": view(Storage(numbers(6)), (2, 3), (1, 2))})
    target, details, change = converted(root, "m/pytorch_model.bin")
    assert change.outputs == ("m/model.safetensors",)
    assert details == {"m/model.safetensors": {"from": "a PyTorch file"}}
    found = load_file(target / "m" / "model.safetensors")
    assert found["turned"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert (target / "m" / "model.safetensors").stat().st_size == (root / "m" / "pytorch_model.bin").stat().st_size - (change.saves or 0)


def test_shards_and_their_index_become_safetensors(root: Path) -> None:
    shards(root)
    target, details, change = converted(root, INDEX)
    assert sorted(change.sources) == sorted(path.name for path in root.iterdir())
    assert set(details) == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert json.loads((target / "model.safetensors.index.json").read_text()) == {
        "metadata": {"total_size": 880},
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors",
        },
    }
    assert load_file(target / "model-00002-of-00002.safetensors")["c"].tolist() == list(range(9, 79))


@pytest.mark.parametrize("problem", ["missing", "foreign", "nested", "index", "elsewhere", "there"])
def test_a_model_of_which_one_part_cannot_be_safetensors_stays_as_it_is(root: Path, problem: str) -> None:
    shards(root)
    second = root / "pytorch_model-00002-of-00002.bin"
    index = json.loads((root / INDEX).read_text())
    if problem == "missing":
        second.unlink()
    elif problem == "foreign":
        save(second, {"c": arguments()})
    elif problem == "nested":
        save(second, {"c": {"d": tensor(3)}})
    elif problem == "there":
        (root / "model.safetensors.index.json").write_text("{}")
    else:
        name = {"index": "d", "elsewhere": "c"}[problem]
        index["weight_map"][name] = "../pytorch_model-00002-of-00002.bin" if problem == "elsewhere" else second.name
        (root / INDEX).write_text(json.dumps(index))
    changes, context = plan(root, to="safetensors")
    assert changes == {}
    assert context.codes == ["MB712" if problem == "foreign" else "MB713"]
    assert str(root) not in context.findings[0].message


def test_two_files_that_would_become_one_are_told(root: Path) -> None:
    save(root / "a.pt", {"w": tensor(10)})
    save(root / "a.bin", {"w": tensor(20)})
    changes, context = plan(root, to="safetensors")
    assert list(changes) == ["a.bin"]
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB713", "a.pt")]


def test_what_cannot_be_safetensors_is_still_made_smaller(root: Path) -> None:
    save(root / "a.pt", checkpoint())
    changes, context = plan(root, to="safetensors")
    assert isinstance(changes["a.pt"], Rewrite)
    assert context.codes == ["MB713"]


def test_the_whole_way(root: Path) -> None:
    save(root / "training.pt", checkpoint())
    save(root / "m" / "pytorch_model.bin", {"w": tensor(1000)})
    save_file({"w": np.arange(1000, dtype="f4")}, root / "m" / "model.safetensors")
    save(root / "args.bin", arguments())
    before = (root / "args.bin").read_bytes()
    manifest = run(root)
    assert [finding.code for finding in manifest.findings] == ["MB712"]
    assert (root / "args.bin").read_bytes() == before
    assert not (root / "m" / "pytorch_model.bin").exists()
    assert (root / "training.pt").stat().st_size < 2000
    assert {row.path: row.detail for row in manifest.details} == {"training.pt": {"dropped": [{"entry": "optimizer", "size": 80_000}]}}
    assert [finding.code for finding in run(root).findings] == ["MB712"]


def test_the_whole_way_to_safetensors(root: Path) -> None:
    shards(root)
    save(root / "resnet.pth", {"w": tensor(1000)})
    manifest = run(root, to="safetensors")
    assert manifest.findings == ()
    assert sorted(path.name for path in root.iterdir()) == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "resnet.safetensors",
    ]
    assert load_file(root / "resnet.safetensors")["w"].tolist() == list(range(1000))


def test_what_became_safetensors_can_be_quantized_by_the_next_step(root: Path, tmp_path: Path) -> None:
    save(root / "m" / "pytorch_model.bin", {"w": tensor(100, 100)})
    registry = load_registry()
    settings = {"optimizers": ["torch_files", "quantize"], "torch_files": {"to": "safetensors"}, "cache": {"enabled": False}}
    config = project_config(tmp_path, registry, settings)
    optimize(prepare(config, registry, project=tmp_path), root, root)
    found = load_file(root / "m" / "model.safetensors")["w"]
    assert (found.dtype, found.shape) == (np.float16, (100, 100))
    assert [path.name for path in (root / "m").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("to", ["torch", "safetensors"])
def test_a_flipped_bit_keeps_the_original(root: Path, to: str) -> None:
    data = bytearray(archive(*pickled({"w": view(Storage(numbers(10_000)), (10,))})))
    data[data.index(numbers(9, 5000))] ^= 1
    (root / "a.pt").write_bytes(data)
    manifest = run(root, to=to)
    (finding,) = manifest.findings
    assert (finding.code, finding.path) == ("MB102", "a.pt")
    assert "CRC-32" in finding.message
    assert str(root) not in finding.message
    assert (root / "a.pt").read_bytes() == data


def test_a_file_that_changed_since_the_plan_is_an_error_of_ours_alone(root: Path) -> None:
    save(root / "a.pt", checkpoint())
    step, context = TorchFiles(TorchFilesOptions()), FakeContext(root)
    bundle = bundle_of(root)
    assert list(step.plan(bundle, context))
    (root / "a.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"^is "):
        step.rewrite(context.task(bundle["a.pt"], root.parent / "companions"), context)


def test_neither_torch_nor_numpy_is_imported(root: Path) -> None:
    save(root / "a.pt", checkpoint())
    save(root / "m" / "pytorch_model.bin", {"w": tensor(3)})
    save_file({"w": np.arange(3, dtype="f4")}, root / "m" / "model.safetensors")
    script = (
        "import sys\nsys.modules['numpy'] = sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom hatch_mlbundle.optimizers.torch_files import *\nfrom tests.fakes import *\n"
        f"root = Path({str(root)!r})\nstep = TorchFiles(TorchFilesOptions(to='safetensors'))\n"
        "changes = list(step.plan(bundle_of(root), FakeContext(root)))\nprint(*sorted(type(each).__name__ for each in changes))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (result.stdout, result.stderr) == ("Drop Rewrite\n", "")
