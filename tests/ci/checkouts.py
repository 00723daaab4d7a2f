"""A project with limits and something that was built, as a pipeline has it before sizes are checked."""

from __future__ import annotations

from pathlib import Path

BUDGET = """[project]
name = "app"
version = "1"

[tool.mlbundle.budget]
installed = "100 kB"
"""


def checkout(folder: Path, *, artifacts: dict[str, int] | None = None, budget: str = BUDGET) -> Path:
    """Make a project in a folder, with artifacts of so many bytes: folders of two files each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(budget, encoding="utf-8")
    for name, size in (artifacts or {"app": 50_000}).items():
        build(folder / "dist" / name, size)
    return folder


def build(artifact: Path, size: int) -> None:
    """Make an artifact of so many bytes anew."""
    for part, length in (("lib/weights.bin", size - 100), ("app.txt", 100)):
        path = artifact / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(length))
