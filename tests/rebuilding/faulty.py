"""Projects that are built for real: one whose builds are the same, and others that are not in one way each."""

from __future__ import annotations

from pathlib import Path

_HATCH = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.10"

[tool.hatch.build.targets.wheel]
packages = ["faulty"]

[tool.hatch.build.targets.wheel.hooks.custom]
"""
_HOOK = """\
import os
import time
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Hook(BuildHookInterface):
    def initialize(self, version, build_data):
        folder = Path(self.root, "generated")
        folder.mkdir(exist_ok=True)
        made = {faults}
        for name, text in made.items():
            (folder / name).write_text(text)
            build_data["force_include"][str(folder / name)] = f"faulty/{name}"
"""
FAULTS = {
    "calendar.txt": 'time.strftime("%Y") + "\\n"',
    "chance.txt": 'os.urandom(8).hex() + "\\n"',
    "folder.py": 'f"HERE = {self.root!r}\\n"',
    "home.py": 'f"HOME = {os.path.expanduser(chr(126))!r}\\n"',
    "listing.txt": '"\\n".join(os.listdir(os.path.join(self.root, "faulty")))',
    "order.py": 'f"NAMES = { {str(number) for number in range(40)} }\\n"',
    "time.py": 'f"# made by a hook\\nBUILT = {int(time.time())}\\n"',
    "uid.py": 'f"UID = {os.getuid()}\\n"',
    "user.py": 'f"USER = {os.environ.get(chr(85) + chr(83) + chr(69) + chr(82))!r}\\n"',
    "zone.py": 'f"ZONE = {time.timezone}\\n"',
}
"""Files that the hook makes, each with the expression of its text."""


def hatch_project(folder: Path, *faults: str, name: str = "faulty") -> Path:
    """Write a project of hatchling whose hook makes these files of FAULTS, and return its folder."""
    package = folder / "faulty"
    package.mkdir(parents=True)
    for module in ("__init__", "one", "two", "three"):
        (package / f"{module}.py").write_text("")
    (folder / "pyproject.toml").write_text(_HATCH.replace("{name}", name))
    made = ", ".join(f"{fault!r}: {FAULTS[fault]}" for fault in faults)
    (folder / "hatch_build.py").write_text(_HOOK.replace("{faults}", f"{{{made}}}"))
    return folder


def setuptools_project(folder: Path) -> Path:
    """Write a project of setuptools, which takes times and modes of files as it finds them, and return its folder."""
    package = folder / "plain"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n\n'
        '[project]\nname = "plain"\nversion = "1.0"\n\n[tool.setuptools]\npackages = ["plain"]\n'
    )
    return folder
