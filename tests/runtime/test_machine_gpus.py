"""The GPUs that CUDA would see: by a library that stands for the driver, and by the rules for CUDA_VISIBLE_DEVICES alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hatch_mlbundle.runtime.machine.gpus import Gpu, among
from tests.nvmlsmith import LOGGED, fake_driver

T4 = Gpu(0, "Tesla T4", "GPU-aa11", (7, 5))
A100 = Gpu(1, "NVIDIA A100-SXM4-80GB", "GPU-bb22", (8, 0))
OTHER_A100 = Gpu(2, "NVIDIA A100-SXM4-80GB", "GPU-bb33", (8, 0))
MIXED = (T4, A100, OTHER_A100)
INSTANCES = {"MIG-one": "GPU-bb22", "MIG-two": "GPU-bb22", "MIG-other": "GPU-bb33"}


@pytest.fixture(autouse=True)
def by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("0,-1,1", [0]),  # what follows an invalid one does not count
        ("0,3,1", [0]),
        ("1gpu", [1]),  # as strtol reads it
        ("-1", []),
        ("NoDevFiles", []),
        ("99999999999999999999", []),
        ("GPU-aa11", [0]),
        ("GPU-a,GPU-bb33", [0, 2]),
        ("GPU-bb", []),  # two begin so
        ("GPU-cc,0", []),
        ("gpu-aa11", []),
        ("MIG-one", [1]),
        ("MIG-one,MIG-two,MIG-other", [1, 2]),
        ("MIG-none,0", []),
        (",0", []),
        ("\u0661", []),
        ("0,0", [0]),
    ],
)
def test_numbers_and_uuids_choose_up_to_the_first_that_is_none(chosen: str, numbers: list[int]) -> None:
    visible = among(MIXED, chosen, lambda uuid: INSTANCES.get(uuid, ""))
    assert ([gpu.number for gpu in visible.gpus], visible.sure) == (numbers, True)


def test_only_cuda_knows_which_of_unlike_gpus_is_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    told = {chosen: among(MIXED, chosen, str) for chosen in ("0", "0,1", "0,1,2", "GPU-aa")}
    assert {chosen: (len(visible.gpus), visible.sure) for chosen, visible in told.items()} == {
        "0": (3, False),
        "0,1": (3, False),
        "0,1,2": (3, True),
        "GPU-aa": (1, True),
    }
    assert among((A100, OTHER_A100), "0", str).sure


SHOW = """\
from hatch_mlbundle.runtime.machine.gpus import visible_gpus
for gpu in visible_gpus().gpus:
    print(gpu.number, gpu.name, gpu.uuid, *gpu.capability)
"""
GPUS = "GPU-aa|Tesla T4|7.5\nGPU-bb|denied|8.0\nGPU-cc|NVIDIA RTX PRO 6000 Blackwell|12.0"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))


def seen(environment: Mapping[str, str], code: str = SHOW) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("PYTHON")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_the_driver_is_asked_and_left_as_it_was(driver: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    told = seen({"LD_LIBRARY_PATH": str(driver), "FAKE_GPUS": GPUS, "FAKE_LOG": str(log)})
    assert told == ["0 Tesla T4 GPU-aa 7 5", "2 NVIDIA RTX PRO 6000 Blackwell GPU-cc 12 0"]
    assert log.read_text() == LOGGED


def test_an_instance_is_part_of_a_gpu(driver: Path) -> None:
    for instance in ("MIG-2", "MIG-GPU-cc/1/0"):
        told = seen({"LD_LIBRARY_PATH": str(driver), "FAKE_GPUS": GPUS, "CUDA_VISIBLE_DEVICES": instance})
        assert told == ["2 NVIDIA RTX PRO 6000 Blackwell GPU-cc 12 0"]


def test_a_driver_that_hangs_is_not_waited_for_longer_than_it_may_take(driver: Path) -> None:
    code = """\
from hatch_mlbundle.runtime.machine import gpus
gpus.PATIENCE = 0.1
try:
    gpus.visible_gpus()
except TimeoutError as error:
    print(error)
"""
    told = seen({"LD_LIBRARY_PATH": str(driver), "FAKE_GPUS": GPUS, "FAKE_HANGS": "1"}, code)
    assert told == ["the driver of the GPUs has not answered for 0.1 seconds"]


@pytest.mark.parametrize(
    ("gpus", "chosen", "sure"),
    [
        ("GPU-a|Tesla T4|7.5\nGPU-b|A100 MIG|8.0", {}, "False"),  # CUDA sees an instance of the second, and then not the first
        ("GPU-a|Tesla T4|7.5\nGPU-b|A100 MIG|8.0", {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "True"),
        ("GPU-a|Tesla T4|7.5\nGPU-b|A100 MIG|8.0", {"CUDA_VISIBLE_DEVICES": "GPU-a"}, "True"),
        ("GPU-a|A100|8.0\nGPU-b|A100 MIG|8.0", {}, "True"),
    ],
)
def test_beside_a_divided_gpu_others_may_not_be_seen(gpus: str, chosen: dict[str, str], sure: str, driver: Path) -> None:
    code = "from hatch_mlbundle.runtime.machine.gpus import visible_gpus; print(visible_gpus().sure)"
    assert seen({"LD_LIBRARY_PATH": str(driver), "FAKE_GPUS": gpus, **chosen}, code) == [sure]


def test_a_driver_that_cannot_tell_is_as_good_as_none(tmp_path: Path) -> None:
    log, old = tmp_path / "log", fake_driver(tmp_path, "-DOLD")
    assert seen({"LD_LIBRARY_PATH": str(old), "FAKE_GPUS": GPUS, "FAKE_LOG": str(log)}) == []
    assert log.read_text() == LOGGED
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    assert seen({"LD_LIBRARY_PATH": str(old), "FAKE_GPUS": GPUS}) == []


@pytest.mark.parametrize("more", [{}, {"LD_LIBRARY_PATH": "", "FAKE_GPUS": GPUS}, {"FAKE_GPUS": GPUS, "CUDA_VISIBLE_DEVICES": " "}])
def test_without_a_driver_or_with_all_hidden_there_is_none(driver: Path, tmp_path: Path, more: dict[str, str]) -> None:
    log = tmp_path / "log"
    assert seen({"LD_LIBRARY_PATH": str(driver), "FAKE_LOG": str(log), **more}) == []
    assert not log.exists() or log.read_text() == "init "  # without GPUs the library says that no driver is loaded
