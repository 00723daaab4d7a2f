"""Our own optimizers keep the laws: each on a small input that makes it do something."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.api import Bundle
from hatch_mlbundle.optimizers import builtin
from hatch_mlbundle.profile import FILE_NAME, Profile
from hatch_mlbundle.testing import LAWS, bundle_from
from hatch_mlbundle.testing.law import Case, case_of
from hatch_mlbundle.testing.laws import check_elsewhere, check_here
from tests.bundledmodels import below, safetensors_file, transformers_files
from tests.elfsmith import WIDE, compile_elf, need
from tests.gpusmith import gpu_library
from tests.models.safesmith import weights, write_tensors
from tests.models.torchsmith import save, tensor
from tests.optimizers.test_exclude_modules import APP, IPYTHON, frozen
from tests.optimizers.test_pack_weights import WEIGHTS
from tests.optimizers.test_python_sources import both
from tests.torchsmith import NAME, build_torch

Made = tuple[Mapping[str, Any] | Bundle, Mapping[str, object]]
"""Files, and options."""

PACKAGE = {
    "pkg/__init__.py": "def f():\n    return 1\n",
    "pkg/tests/test_f.py": "from pkg import f\n\n\ndef test_f():\n    assert f()\n",
    "pkg/tests/data/words.txt": "a b c",
    "pkg/include/pkg.h": "int f(void);\n",
}


def compiled(folder: Path) -> Made:
    """Return a library with symbols and debug data."""
    need("gcc")
    return {"pkg/libx.so": compile_elf(folder / "libx.so", "-g").read_bytes()}, {}


def for_every_cpu(folder: Path) -> Made:
    """Return a library with kernels for three levels of CPUs."""
    need("gcc")
    return {f"torch/lib/{NAME}": build_torch(folder / "lib", "-g").read_bytes()}, {}


def for_five_gpus(folder: Path) -> Made:
    """Return a library with code for five sorts of GPUs, and one that is NVIDIA's."""
    need("gcc")
    library = gpu_library(folder / "lib.so").read_bytes()
    return {"pkg/libnccl.so.2": library, "nvidia/libcublas.so.12": library}, {"targets": ["8.0"]}


def packable(folder: Path) -> Made:
    """Return a library that is worth packing."""
    need("upx", "gcc")
    return {"pkg/libx.so": compile_elf(folder / "libx.so", source=WIDE).read_bytes()}, {"min-size": 4096}


def unneeded(folder: Path) -> Made:
    """Return an extension module, and a library that nothing needs."""
    need("gcc")
    library = compile_elf(folder / "libunused.so.1").read_bytes()
    extension = compile_elf(folder / "ext.so", source="void PyInit_ext(void) {}\n").read_bytes()
    return {"_internal/libunused.so.1": library, "_internal/pkg/ext.cpython-311-x86_64-linux-gnu.so": extension}, {"remove": True}


def profiled(folder: Path) -> Made:
    """Return an application and a profile by which it uses half of itself."""
    bundle = frozen(
        {"pyz/app.py": "import pkg.used", "pyz/pkg/__init__.py": "", "pyz/pkg/used.py": "", "pyz/pkg/lazy.py": "", "pkg/x": "x"}
    )
    unused = {path for path in bundle if path.endswith(("lazy.pyc", "/x"))}
    Profile(used=frozenset(bundle) - unused, unused=frozenset(unused)).save(folder / FILE_NAME)
    return bundle, {}


def checkpoint(folder: Path) -> Made:
    """Return a checkpoint with the state of its training."""
    made = {
        "epoch": 3,
        "model": {"w": tensor(100)},
        "optimizer": {"state": {0: {"exp_avg": tensor(20_000), "step": 3}}, "param_groups": []},
    }
    save(folder / "model.pt", made)
    return {"pkg/model.pt": (folder / "model.pt").read_bytes()}, {}


def tensors(folder: Path) -> Made:
    """Return a model of two weights and its configuration."""
    path = write_tensors(
        folder / "model.safetensors", {"a.weight": weights(96, 64), "b.weight": weights(64, 128, seed=2)}, {"format": "pt"}
    )
    return {"pkg/model.safetensors": path.read_bytes(), "pkg/config.json": '{\n  "model_type": "bert"\n}\n'}, {"dtype": "int8"}


NOTEBOOKS = {
    path: IPYTHON[path] for path in ("pyz/IPython/__init__.py", "pyz/IPython/core/__init__.py", "IPython/core/profile/startup.txt")
}

MAKERS: dict[str, Callable[[Path], Made]] = {
    "test_data": lambda _: (PACKAGE, {}),
    "exclude": lambda _: (PACKAGE, {"groups": ["headers"], "paths": ["pkg/tests/data/**"]}),
    "exclude_modules": lambda _: (frozen({**APP, **NOTEBOOKS}), {"sets": ["notebooks"]}),
    "python_sources": lambda _: (frozen(both("pkg/__init__.py", "pkg/a.py")), {}),
    "cpu_code": for_every_cpu,
    "strip": compiled,
    "gpu_code": for_five_gpus,
    "unused_libraries": unneeded,
    "prune_unused": profiled,
    "deduplicate": lambda _: ({"pkg/a/x.bin": bytes(9000), "pkg/b/y.bin": bytes(9000), "pkg/b/z.txt": "z"}, {}),
    "upx": packable,
    "torch_files": checkpoint,
    "pack_weights": lambda _: ({"pkg/model.safetensors": WEIGHTS}, {}),
    "quantize": tensors,
    "externalize": lambda _: ({**below("app/bert", transformers_files()), "app/yolo.pt": safetensors_file(2)}, {"min-size": 0}),
}
OPTIMIZERS = {each.name: each for each in builtin.mlbundle_register_optimizers()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Return what makes the case of an optimizer, once."""

    @cache
    def make(name: str) -> Case:
        folder = tmp_path_factory.mktemp(name)
        files, options = MAKERS[name](folder)
        return case_of(OPTIMIZERS[name], files if isinstance(files, Bundle) else bundle_from(files), options, project=folder)

    return make


def test_every_optimizer_of_ours_is_here() -> None:
    assert list(MAKERS) == list(OPTIMIZERS)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", MAKERS)
def test_the_laws(name: str, law: str, made: Callable[[str], Case]) -> None:
    case = made(name)
    assert case.plain.changed
    LAWS[law].check(case) if law != "deterministic" else check_here(case)


def test_the_same_comes_of_it_in_other_processes(made: Callable[[str], Case]) -> None:
    missing = {"gcc": ("cpu_code", "strip", "gpu_code", "unused_libraries", "upx"), "upx": ("upx",)}
    left_out = {name for program, names in missing.items() if shutil.which(program) is None for name in names}
    check_elsewhere([made(name) for name in MAKERS if name not in left_out])
