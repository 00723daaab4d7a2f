"""Wheels and folders for this very Python, and what imports their modules in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatch_mlbundle.cli import main
from tests.bundles.wheelsmith import build_wheel
from tests.projects import environment

RELEASE = "{}.{}".format(*sys.version_info)
TAG = f"cp{RELEASE.replace('.', '')}"


def wheel_of(folder: Path, files: Mapping[str, bytes | str], tag: str = f"{TAG}-{TAG}-any") -> Path:
    """Write a wheel with a tag of its own."""
    metadata = {"METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n", "WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n".encode()}
    data = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
    return build_wheel(folder, data, name=f"demo-1.0-{tag}.whl", metadata=metadata)


def folder_of(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files into a folder."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def optimized(artifact: Path, step: str, **options: Any) -> dict[str, Any]:
    """Run one step on an artifact, in place, and return its manifest."""
    home = artifact.parent
    lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in options.items()]
    (home / "pyproject.toml").write_text("\n".join([f'[tool.mlbundle]\noptimizers = ["{step}"]\n[tool.mlbundle.{step}]', *lines, ""]))
    assert main(["optimize", "-q", "--project", str(home), str(artifact)]) == 0
    document: dict[str, Any] = json.loads(artifact.with_name(f"{artifact.name}.mlbundle.json").read_text())
    return document


def reasons(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return why each file was kept, by path."""
    return {row["path"]: change["reason"] for row in manifest["files"] for change in row["changes"] if change["action"] == "keep"}


def names(manifest: Mapping[str, Any]) -> set[str]:
    """Return the paths of the files that are there in the end, without dist-info."""
    return {row["path"] for row in manifest["files"] if row["after"] and ".dist-info/" not in row["path"]}


def codes(manifest: Mapping[str, Any]) -> list[str]:
    return [finding["code"] for finding in manifest["findings"]]


def unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(folder: Path, code: str, *options: str, **more: str) -> str:
    """Return what a script prints that finds modules in a folder alone and in Python's own library."""
    surroundings = environment(**more)
    surroundings.pop("PYTHONPATH", None)
    script = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.dont_write_bytecode = True\n{code}"
    done = subprocess.run(
        [sys.executable, *options, "-c", script], env=surroundings, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
