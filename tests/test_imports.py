from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hatch_mlbundle

PACKAGE = Path(hatch_mlbundle.__file__).parent

CORE = """
    __init__ accuracy accuracy.evaluator accuracy_settings api atomic budget budget_baseline budget_groups budget_limits budget_measure
    budget_presets budget_settings bytecode cache canonical closure compare config contents contents.inspector contents.parts
    contents.totals crash decode entrypoints epoch errors filegroups finished frozenmodules globs guard hookspecs identify
    image_settings importpaths importtime json_rows keeprules late libraries librarynames links manifest marshalled_code matching model
    model_store modulesets.* named_digests opcodes optimizer pairing printable profile profilematch programs progress pysource reference
    releases removable schema standard_output storage testfiles told_models toml_lines units unmarshal unmarshal_server usage
    verify_settings writewatch
"""
LAYERS = [
    ["runtime.*"],
    CORE.split(),
    [
        *("accuracy.judge", "accuracy.metrics", "accuracy.outputs", "accuracy.running", "accuracy.samples", "accuracy.search"),
        *("accuracy.stage", "accuracy.worker", "binaries.*", "bundles.*", "contents.binaries", "contents.builtin", "contents.fatbin"),
        *("contents.gguf", "contents.models", "contents.offload_bundle", "contents.removable"),
        *("freezing.*", "models.*", "tracing.*", "trials.*"),
    ],
    [
        *("accounting", "apart", "applied", "claims", "contents.removable_rows", "contents.rows", "drafts", "examine", "judging"),
        *("models_beside", "objections", "pipeline", "provenance.*", "rewriting", "sandbox", "step_order", "workspace"),
    ],
    ["rebuilding.*", "verification.*"],
    ["optimizers.*", "reports.*"],
    ["plugin_checks", "plugin_offer", "plugins"],
    ["application", "beside", "built_reports", "budgeting", "explore", "finished_key", "job", "proof", "session", "suggestions"],
    ["adapters.*"],
    [
        *("__main__", "*_command", "ci.*", "cli", "command_options", "commands", "hooks", "initial.*", "invocation", "model_commands"),
        *("report_commands", "setuptools_entry", "subjects", "verify_artifact"),
    ],
    ["testing.*"],
    ["pytest_plugin"],
]
"""From low to high: a module imports from its own layer and those below. `x.*` is the folder x and all modules in it, `*_x` every
module whose name ends so.

The lowest ships inside users' applications: it imports the standard library only, and numpy late.
"""

HOSTS = {
    "hatchling": ["adapters.frozen", "adapters.hatch", "hooks"],
    "PyInstaller": ["adapters.pyinstaller"],
    "rich": ["reports.*", "cli", "commands", "report_commands"],
    "pluggy": ["hookspecs", "plugin_offer"],
    "setuptools": ["adapters.setuptools"],
    "pytest": ["pytest_plugin"],
    "tomlkit": ["initial.toml_file"],
    "shtab": ["completion_command"],
    "iced_x86": ["binaries.x86_64_code"],
    "backports": ["bundles.archives.zstd_stream"],
}
"""Libraries that only these modules may import."""


def modules() -> dict[str, Path]:
    """Return each module of the package by its name below the package, `x` for `x/__init__.py`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()


def matches(module: str, pattern: str) -> bool:
    if pattern.startswith("*"):
        return module.endswith(pattern[1:])
    folder = pattern.removesuffix(".*")
    return module == folder if folder == pattern else module == folder or module.startswith(f"{folder}.")


def layers_of(module: str) -> list[int]:
    return [number for number, patterns in enumerate(LAYERS) for pattern in patterns if matches(module, pattern)]


@cache
def imported(module: str) -> frozenset[str]:
    """Return the full names of what a module imports, wherever in it: `hatch_mlbundle.x` for ours, however it is written."""
    path = MODULES[module]
    package = ["hatch_mlbundle", *path.relative_to(PACKAGE).parent.parts]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module.split(".") if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(found)


def ours(module: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for name in imported(module):
        top, _, rest = name.partition(".")
        if top == "hatch_mlbundle":
            found.add(next((each for each in (rest, rest.rpartition(".")[0]) if each in MODULES), "__init__"))
    return found - {module}


def test_every_module_is_in_one_layer() -> None:
    assert {module: layers for module in MODULES if len(layers := layers_of(module)) != 1} == {}


def test_no_arrow_runs_back() -> None:
    layers = {module: max(layers_of(module), default=0) for module in MODULES}
    assert [(module, each) for module in MODULES for each in ours(module) if layers[each] > layers[module]] == []


def test_every_name_in_a_layer_is_a_module() -> None:
    names = [pattern for patterns in LAYERS for pattern in patterns if "*" not in pattern]
    assert [name for name in names if name not in MODULES] == []


def test_no_module_imports_itself_around_a_corner() -> None:
    order = list(TopologicalSorter({module: ours(module) for module in MODULES}).static_order())
    assert sorted(order) == sorted(MODULES)


@pytest.mark.parametrize("library", HOSTS)
def test_a_host_is_known_to_its_adapter_alone(library: str) -> None:
    users = [module for module in MODULES if any(name.partition(".")[0] == library for name in imported(module))]
    assert users
    assert [module for module in users if not any(matches(module, pattern) for pattern in HOSTS[library])] == []


def test_what_ships_in_applications_needs_the_standard_library_only() -> None:
    allowed = {*sys.stdlib_module_names, "numpy"}
    scripts = ["binaries.load_server", "trials.launcher", "trials.supervisor"]
    for module in [*filter(lambda each: matches(each, "runtime.*"), MODULES), *scripts]:
        foreign = {name for name in imported(module) if name.partition(".")[0] not in allowed}
        assert {name for name in foreign if not name.startswith("hatch_mlbundle.runtime")} == set(), module


def test_the_reading_of_imports_sees_them_all() -> None:
    assert {"model", "errors"} <= ours("storage") | ours("errors")
    assert "binaries.elf_format" in ours("binaries.elf_check")
    assert "hatchling.plugin.hookimpl" in imported("hooks")
