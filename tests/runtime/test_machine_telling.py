"""What is told of a machine that a bundle has no code for, and where what is said of bundles is looked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import hatch_mlbundle
from hatch_mlbundle.runtime.machine import telling
from hatch_mlbundle.runtime.machine.command import main
from hatch_mlbundle.runtime.machine.gpus import Gpu, Visible
from hatch_mlbundle.runtime.machine.statements import base_of, claims, is_statement, loaded_here, parse, read_claim, statement_paths
from hatch_mlbundle.runtime.machine.telling import cpu_problem, gpu_problem, standing, tell_at_start
from tests.nvmlsmith import fake_driver

T4, A100 = Gpu(0, "Tesla T4", "GPU-a", (7, 5)), Gpu(1, "NVIDIA A100-SXM4-80GB", "GPU-b", (8, 0))
BLACKWELL = Gpu(2, "NVIDIA B200", "GPU-c", (10, 0))
LOST = [{"first": "5.0", "below": "8.0"}, {"first": "9.0"}]
LINE = (
    "this bundle lacks code for GPU 0 (Tesla T4, 7.5): it was made for compute capability 8.0 (torch/x.so);"
    " get one for 7.5, or choose another GPU with CUDA_VISIBLE_DEVICES"
)


def library(path: str = "torch/x.so", **more: Any) -> dict[str, Any]:
    code = {"targets": ["8.0"], "ptx": "all", "kept": {}, "dropped": {}, "lost": LOST}
    gpu = {**code, **{key: value for key, value in more.items() if key in code}}
    return {"path": path, "size": 3, "gpu": gpu, **{key: value for key, value in more.items() if key not in code}}


def put(path: Path, *libraries: dict[str, Any], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": "mlbundle-machine", "format_version": "1.0", "libraries": libraries, **more}))
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with a library that lost code, and what is said of it."""
    folder = tmp_path / "site"
    put(folder / "torch-2.dist-info/mlbundle-machine.json", library())
    (folder / "torch").mkdir()
    (folder / "torch/x.so").write_bytes(b"elf")
    return folder


def said(site: Path, *gpus: Gpu, sure: bool = True) -> str | None:
    return gpu_problem(standing(claims([site])), Visible(gpus, sure=sure))


def test_a_gpu_without_code_is_told_of_in_one_line(site: Path) -> None:
    assert said(site, T4) == LINE
    assert said(site, T4, A100) == LINE
    assert said(site, A100) is None
    assert said(site) is None


def test_gpus_that_are_alike_are_told_of_together(site: Path) -> None:
    many = [Gpu(number, T4.name, f"GPU-{number}", T4.capability) for number in (0, 2, 3)]
    assert f"lacks code for GPUs 0, 2 and 3 ({T4.name}, 7.5) and GPU 2 (NVIDIA B200, 10.0):" in str(said(site, *many, A100, BLACKWELL))


def test_several_gpus_and_libraries_stay_one_line(site: Path) -> None:
    rows = [library(), library("torch/y.so", targets=["8.0", "10.0"], lost=[{"first": "5.0", "below": "10.0"}]), library("torch/none.so")]
    put(site / "torch-2.dist-info/mlbundle-machine.json", *rows)
    (site / "torch/y.so").write_bytes(b"elf")
    assert said(site, T4, A100, BLACKWELL) == (
        "this bundle lacks code for GPU 0 (Tesla T4, 7.5), GPU 1 (NVIDIA A100-SXM4-80GB, 8.0) and GPU 2 (NVIDIA B200, 10.0): it was made"
        " for no GPU (torch/x.so and 1 more); get one for 7.5, 8.0 and 10.0, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


def test_where_it_is_not_known_which_gpu_is_meant_only_what_holds_for_all_is_told(site: Path) -> None:
    assert said(site, T4, A100, sure=False) is None
    assert str(said(site, T4, BLACKWELL, sure=False)).startswith("this bundle lacks code for GPU 0 (Tesla T4, 7.5) and GPU 2")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("t\n.so", r"'t\n.so'"), ("t\\x.so", "t\\x.so"), ("C:x.so", "C:x.so"), (os.fsdecode(b"t\xff.so"), r"'t\udcff.so'")],
)
def test_an_odd_name_hides_nothing(name: str, shown: str, site: Path) -> None:
    put(site / "torch-2.dist-info/mlbundle-machine.json", library(name), library("torch/x.so"))
    assert said(site, T4) == LINE
    (site / name).write_bytes(b"elf")
    assert f"({shown} and 1 more);" in str(said(site, T4))


def test_the_documentation_shows_the_line_as_it_is(site: Path) -> None:
    names = ("torch/lib/libtorch_cuda.so", "torch/lib/libtorch_cuda_linalg.so")
    put(site / "torch-2.dist-info/mlbundle-machine.json", *(library(name, targets=["8.0", "9.0"], lost=LOST[:1]) for name in names))
    (site / "torch/lib").mkdir()
    for name in names:
        (site / name).write_bytes(b"elf")
    page = (Path(hatch_mlbundle.__file__).parents[1] / "docs/machine-statement.md").read_text(encoding="utf-8")
    assert f"\n```\nmlbundle: {said(site, T4)}\n```\n" in page


def test_a_cpu_of_a_lesser_level_is_told_of_in_one_line(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [library("torch/y.so", cpu={"level": level}) for level in ("x86-64-v3", "x86-64-v4", "x86-64-v9")]
    put(site / "torch-2.dist-info/mlbundle-machine.json", *rows)
    (site / "torch/y.so").write_bytes(b"elf")
    asked: list[str] = []
    monkeypatch.setattr(telling, "problem_of_level", asked.append)
    assert (cpu_problem(standing(claims([site]))), asked) == (None, ["x86-64-v4"])
    (site / "torch/y.so").unlink()
    assert (cpu_problem(standing(claims([site]))), asked) == (None, ["x86-64-v4"])


@pytest.mark.parametrize("data", [None, b"another elf"])
def test_what_is_gone_or_was_put_anew_is_not_told_of(site: Path, data: bytes | None) -> None:
    (site / "torch/x.so").unlink()
    if data:
        (site / "torch/x.so").write_bytes(data)
    assert said(site, T4) is None


def test_paths_begin_where_the_statement_says() -> None:
    bases = {
        "/a/site/torch-2.dist-info/mlbundle-machine.json": "/a/site",
        "torch-2.dist-info/mlbundle-machine.json": "",
        "_internal/mlbundle-machine.json": "_internal",
        "mlbundle-machine-2.json": "",
        "/usr/share/mlbundle/mlbundle-machine.json": "",
        "/mnt/root/usr/share/mlbundle/mlbundle-machine-3.json": "/mnt/root",
        "usr/share/mlbundle/mlbundle-machine.json": "",
    }
    assert {path: base_of(path) for path in bases} == bases
    assert all(map(is_statement, bases))
    assert not any(map(is_statement, ("mlbundle.json", "mlbundle-machine.json/x", "xmlbundle-machine.json", "mlbundle-machine-.json")))


def test_statements_are_found_below_a_folder(site: Path) -> None:
    more = [put(site / name) for name in ("app/_internal/mlbundle-machine.json", "usr/share/mlbundle/mlbundle-machine-2.json")]
    found = list(statement_paths([site, str(site)]))
    assert found == sorted(map(str, [*more, site / "torch-2.dist-info/mlbundle-machine.json"]))
    assert read_claim(found[-1])[0] == str(site)


def test_a_program_finds_those_of_its_packages(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, frozen = put(tmp_path / "other/mlbundle-machine.json"), put(tmp_path / "frozen/mlbundle-machine.json")
    put(site / "deeper/down/mlbundle-machine.json")  # no program finds its packages there
    (tmp_path / "no folder").touch()
    monkeypatch.setattr(
        sys, "path", ["", str(site), str(tmp_path / "no folder"), str(tmp_path / "nowhere"), str(tmp_path / "other"), str(site)]
    )
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path / "frozen"), raising=False)
    assert list(statement_paths()) == [str(frozen), str(site / "torch-2.dist-info/mlbundle-machine.json"), str(beside)]


def test_libraries_that_others_hide_are_not_told_of(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an environment that sees the system's packages has its own, whole ones, or where it has them in a namespace package."""
    own = tmp_path / "own/lib/python3/site-packages"
    own.mkdir(parents=True)
    (site / "linked").symlink_to(site, target_is_directory=True)

    def told(*entries: Path) -> list[str]:
        monkeypatch.setattr(sys, "path", [*map(str, entries), b"bytes", None])
        return [row[0] for row in standing(claims())]

    assert (told(own, site), told(own, site / "linked")) == (["torch/x.so"], ["torch/x.so"])
    (own / "torch").mkdir()
    assert told(own, site) == ["torch/x.so"]
    (own / "torch/x.so").write_bytes(b"the whole")
    assert (told(own, site), told(site, own), told(site, site / "linked")) == ([], ["torch/x.so"], ["torch/x.so"])
    (own / "torch/x.so").rename(own / "torch/__init__.py")
    assert (told(own, site), told(site, own)) == ([], ["torch/x.so"])


def test_of_an_image_what_no_program_but_others_load_is_not_told_of(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a/lib/python3.11/site-packages/torch/x.so", "b/lib/python3.11/site-packages/torch/x.so", "usr/lib/libx.so"]
    put(tmp_path / "usr/share/mlbundle/mlbundle-machine.json", *map(library, names))
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"elf")
    statement = read_claim(str(tmp_path / "usr/share/mlbundle/mlbundle-machine.json"))
    for entries, told in (([names[0][:-11]], [names[0], names[2]]), ([""], names[2:])):
        monkeypatch.setattr(sys, "path", [str(tmp_path / entry) for entry in entries])
        assert [row[0] for row in standing(loaded_here([statement]))] == told


def test_a_pipe_is_no_statement(site: Path) -> None:
    os.mkfifo(site / "mlbundle-machine.json")
    assert said(site, T4) == LINE


DAMAGED = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "another's": "{}",
    "of later": put,
    "leads out": {"path": "../x.so"},
    "absolute": {"path": "/x.so"},
    "no size": {"size": "3"},
    "no targets": {"targets": [8.0]},
    "no capability": {"targets": ["sm_80"]},
    "no spans": {"lost": ["8.0"]},
    "no span": {"lost": [{"first": "8"}]},
}


@pytest.mark.parametrize("fault", DAMAGED.values(), ids=list(DAMAGED))
def test_what_cannot_be_read_is_passed_over_but_for_the_command(
    fault: Any, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "site/mlbundle-machine.json"
    if isinstance(fault, str):
        path.write_text(fault)
    elif isinstance(fault, Mapping):
        put(path, library(**fault))
    else:
        put(path, format_version="2.0")
    assert said(site, T4) == LINE
    assert main([str(site)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mlbundle: {path}: says nothing of machines that can be read (")


def test_what_is_too_large_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="says nothing of machines"):
        parse(b" " * (1 << 24) + b"{}", "x")


def test_the_command_refuses_what_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (main([str(tmp_path / "nowhere")]), main(["--help"])) == (2, 0)
    output = capsys.readouterr()
    assert output.err == f"mlbundle: {tmp_path}/nowhere: is no folder\n"
    assert max(map(len, output.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments", [["app", "--multiprocessing-fork", "a=1"], ["app", "-B", "-c", "from multiprocessing.forkserver import main"]]
)
def test_processes_of_a_pool_say_nothing(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    tell_at_start(None)  # type: ignore[arg-type]  # which would fail if it were looked at


def test_checking_costs_nothing_where_nothing_was_taken_out(tmp_path: Path) -> None:
    code = "from hatch_mlbundle.runtime import machine; assert machine.check(); import sys; print(*{'json', 'ctypes'} & {*sys.modules})"
    found = {"PYTHONPATH": str(Path(hatch_mlbundle.__file__).parents[1])}  # without `site` an editable installation is not
    result = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path, env=found
    )
    assert result.stdout == "\n"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))


def checked(site: Path, driver: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), str(Path(hatch_mlbundle.__file__).parents[1])])
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "LD_LIBRARY_PATH": str(driver), **environment}
    return subprocess.run([sys.executable, *code.split("|")], env=given, capture_output=True, text=True, check=False, timeout=60)


def test_where_nothing_can_be_written_the_program_goes_on(site: Path, driver: Path) -> None:
    end, closed = "from hatch_mlbundle.runtime.machine import check; print(check())", "import sys; sys.stderr.close(); "
    nothing = "import os, sys; sys.stderr.flush(); os.dup2(os.open('/dev/full', os.O_WRONLY), 2); "
    odd = "import sys; sys.stderr = type('Odd', (), {'buffer': sys.stderr.buffer, 'encoding': None, 'flush': lambda _: None})(); "
    for begin in (closed, nothing, odd, "import sys; sys.stderr = None; "):
        result = checked(site, driver, f"-c|{begin}{end}", FAKE_GPUS="GPU-a|Tesla T4|7.5")
        assert (result.returncode, result.stdout) == (0, "False\n")


def test_a_driver_that_hangs_stops_no_program(site: Path, driver: Path) -> None:
    code = "from hatch_mlbundle.runtime.machine import gpus, check; gpus.PATIENCE = 0.1; print(check())"
    command = "from hatch_mlbundle.runtime.machine import gpus, command; gpus.PATIENCE = 0.1; raise SystemExit(command.main([]))"
    told = [checked(site, driver, f"-c|{each}", FAKE_HANGS="1") for each in (code, command)]
    line = "mlbundle: the driver of the GPUs has not answered for 0.1 seconds\n"
    assert [(result.returncode, result.stdout, result.stderr) for result in told] == [(0, "True\n", ""), (2, "", line)]


def test_a_program_asks_by_one_call_or_the_command(site: Path, driver: Path) -> None:
    call, command = (
        "-c|import hatch_mlbundle.runtime.machine; print(hatch_mlbundle.runtime.machine.check())",
        "-m|hatch_mlbundle.runtime|machine",
    )
    lacking, served = "GPU-a|Tesla T4|7.5", "GPU-a|Tesla T4|7.5\nGPU-b|NVIDIA A100-SXM4-80GB|8.6"
    told = [
        checked(site, driver, call, FAKE_GPUS=lacking),
        checked(site, driver, command, FAKE_GPUS=lacking),
        checked(site, driver, call, FAKE_GPUS=lacking, MLBUNDLE_MACHINE_CHECK="off"),
        checked(site, driver, command, FAKE_GPUS=served, CUDA_VISIBLE_DEVICES="GPU-b"),
        checked(site, driver, command, FAKE_GPUS=served, CUDA_VISIBLE_DEVICES="0"),
        checked(site, driver, command, FAKE_GPUS=served, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_ORDER="PCI_BUS_ID"),
        checked(site, driver, command),
        checked(site / "torch", driver, command, FAKE_GPUS=lacking),
    ]
    order = "some GPUs lack code; set CUDA_DEVICE_ORDER=PCI_BUS_ID to tell whether CUDA_VISIBLE_DEVICES names one of them\n"
    assert [(result.returncode, result.stdout, result.stderr) for result in told] == [
        (0, "False\n", f"mlbundle: {LINE}\n"),
        (1, "", f"mlbundle: {LINE}\n"),
        (0, "True\n", ""),
        (0, "there is code for GPU 1 (NVIDIA A100-SXM4-80GB, 8.6)\n", ""),
        (0, order, ""),
        (1, "", f"mlbundle: {LINE}\n"),
        (0, "GPU code was taken out; CUDA would see no GPU here\n", ""),
        (0, "nothing says that code was taken out\n", ""),
    ]
