from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.config import read_config
from hatch_mlbundle.plugins import OURS, load_registry, optimizer_entries

INSTALLED = {path.name for path in Path(__file__).parents[1].glob("plugins/*")}
"""The project's own plugins, which may be installed or not where the tests run."""

LIST = """
import sys
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.plugins import load_registry
try:
    for name, each in load_registry().items():
        print(name, each.distribution, each.distribution_version)
except ConfigurationError as error:
    print(error)
    sys.exit(error.exit_code)
"""

HEAD = """
from dataclasses import dataclass
from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.optimizer import Optimizer, Options, option

class Demo(Optimizer):
    "Does nothing."
    name = "demo"
    version = "1"
    def plan(self, bundle, context):
        return []
"""

REGISTER = """
@hookimpl
def mlbundle_register_optimizers():
    return [{classes}]
"""


class Site:
    """A folder on the import path that distributions are laid into, as an installer would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, distribution: str, source: str, *, names: tuple[str, ...] = ("main",)) -> None:
        module = distribution.replace("-", "_")
        (self._folder / f"{module}.py").write_text(source)
        info = self._folder / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text("[mlbundle]\n" + "".join(f"{name} = {module}\n" for name in names))

    def load(self, listing: str = LIST) -> tuple[int, list[str]]:
        """Return the exit code and the lines of a process that loads the registry with these distributions installed."""
        program = f"import sys\nsys.path.insert(0, {str(self._folder)!r})\n{listing}"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert ran.stderr == ""
        return ran.returncode, [line for line in ran.stdout.splitlines() if not INSTALLED & set(line.split())]

    def fault(self) -> str:
        """Return the one line with which loading ends."""
        code, lines = self.load()
        assert (code, len(lines)) == (2, 1)
        return lines[0]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_ours_come_through_the_same_hook() -> None:
    registry = load_registry()
    assert {"test_data", "exclude", "strip"} <= set(registry)
    assert {each.distribution for name, each in registry.items() if name in ("test_data", "exclude", "strip")} == {OURS}
    assert registry.option_types()["strip"] is registry["strip"].optimizer.options_type


def test_the_defaults_can_be_carried_out_and_described() -> None:
    registry = load_registry()
    config = read_config({}, registry.option_types())
    assert all(registry[step.name].optimizer(step.options).name == step.name for step in config.steps)
    for entry in optimizer_entries(registry):
        assert entry.summary
        assert all(option.doc and option.type for option in entry.options)


def test_an_installed_plugin_is_registered_after_ours(site: Site) -> None:
    site.add("mlbundle-demo", HEAD + REGISTER.format(classes="Demo"))
    code, lines = site.load()
    assert code == 0
    assert lines[-1] == "demo mlbundle-demo 2.5"
    assert [line.split()[1] for line in lines[:-1]] == [OURS] * (len(lines) - 1)


def test_the_order_of_plugins_is_that_of_their_names(site: Site) -> None:
    names = ["zeta", "alpha", "mu", "beta", "omega", "iota"]
    for name in names:
        site.add(f"mlbundle-{name}", HEAD.replace('"demo"', f'"{name}"') + REGISTER.format(classes="Demo"))
    assert [line.split()[0] for line in site.load()[1][-6:]] == sorted(names)


def test_a_plugin_without_optimizers_is_no_fault(site: Site) -> None:
    site.add("mlbundle-none", HEAD + REGISTER.format(classes=""))
    site.add("mlbundle-nothing", "")
    assert site.load()[0] == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (HEAD + REGISTER.format(classes="Demo, absent"), "NameError: name 'absent' is not defined"),
        ("from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimizers():\n    return 3\n", "TypeError: "),
        ("from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimiser():\n    return []\n", "unknown hook"),
    ],
)
def test_a_broken_plugin_is_named(site: Site, source: str, reason: str) -> None:
    site.add("mlbundle-broken", source)
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-broken")
    assert "cannot be loaded (" in fault
    assert reason in fault
    assert fault.endswith("reinstall or uninstall it")


def test_a_hook_with_other_arguments_is_named(site: Site) -> None:
    source = "from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimizers(bundle):\n    return []\n"
    site.add("mlbundle-broken", source)
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-broken cannot be loaded (PluginValidationError: ")
    assert fault.endswith("reinstall or uninstall it")


def test_two_entry_points_of_one_module_are_one(site: Site) -> None:
    site.add("mlbundle-demo", HEAD + REGISTER.format(classes="Demo"), names=("one", "two"))
    code, lines = site.load()
    assert (code, lines[-1]) == (0, "demo mlbundle-demo 2.5")


@pytest.mark.parametrize(
    ("name", "both"),
    [("strip", "hatch-mlbundle and mlbundle-clash"), ("demo", "mlbundle-clash and mlbundle-demo")],
)
def test_a_name_that_is_taken_is_refused(site: Site, name: str, both: str) -> None:
    site.add("mlbundle-clash", HEAD.replace('"demo"', f'"{name}"') + REGISTER.format(classes="Demo"))
    site.add("mlbundle-demo", HEAD + REGISTER.format(classes="Demo"))
    assert site.fault() == f"optimizer '{name}' is registered by both {both}; uninstall one of them"


@pytest.mark.parametrize("name", ["cache", "strict", "limits", "manifest_folder"])
def test_a_name_that_is_a_key_of_ours_is_refused(site: Site, name: str) -> None:
    site.add("mlbundle-clash", HEAD.replace('"demo"', f'"{name}"') + REGISTER.format(classes="Demo"))
    problem = f"Demo.name is '{name}', which is a key of [tool.mlbundle]"
    assert site.fault() == f"plugin mlbundle-clash: {problem}; tell its authors, or uninstall it"


@pytest.mark.parametrize("name", ["", "Demo", "de-mo", "de.mo", "_demo", "1demo", "d\u00e9mo", "demo "])
def test_a_name_that_is_no_identifier_is_refused(site: Site, name: str) -> None:
    site.add("mlbundle-odd", HEAD.replace('"demo"', repr(name)) + REGISTER.format(classes="Demo"))
    problem = f"Demo.name is {name!r}, which is no lower-case identifier"
    assert site.fault() == f"plugin mlbundle-odd: {problem}; tell its authors, or uninstall it"


@pytest.mark.parametrize(
    ("extra", "classes", "problem"),
    [
        ("", "3", "3 is no subclass of hatch_mlbundle.optimizer.Optimizer"),
        ("", "Demo(Options())", "is no subclass of hatch_mlbundle.optimizer.Optimizer"),
        ("class Other: name = version = 'x'", "Other", "is no subclass of hatch_mlbundle.optimizer.Optimizer"),
        (
            "class Lacking(Optimizer):\n    version = '1'\n    def plan(self, b, c): return []",
            "Lacking",
            "Lacking lacks a name or a version",
        ),
        ("class Lacking(Optimizer):\n    name = 'x'\n    def plan(self, b, c): return []", "Lacking", "Lacking lacks a name or a version"),
        ("class Idle(Optimizer):\n    name = version = 'x'", "Idle", "Idle does not define plan()"),
        ("class Odd(Demo):\n    options_type = int", "Odd", "Odd.options_type is no subclass of hatch_mlbundle.optimizer.Options"),
    ],
)
def test_what_is_no_optimizer_is_refused(site: Site, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}\n{extra}\n{REGISTER.format(classes=classes)}")
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-odd: ")
    assert problem in fault
    assert fault.endswith("; tell its authors, or uninstall it")


OPTIONS = """
@dataclass(frozen=True, kw_only=True)
class O(Options):
    {field}
class Odd(Demo):
    options_type = O
"""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class Odd(Demo):\n    options_type = Options()", " is no subclass of hatch_mlbundle.optimizer.Options"),
        ("class Odd(Demo):\n    options_type = type('O', (Options,), {})", " is no dataclass"),
        (OPTIONS.format(field="a: dict[str, str] = option('A.', default=None)"), "TypeError: O.a: dict[str, str] cannot be read from TOML"),
        (OPTIONS.format(field="a: int | str = option('A.', default=1)"), "TypeError: O.a: int | str cannot be read from TOML"),
        (OPTIONS.format(field="required: int"), "TypeError: O.required has no default"),
        (OPTIONS.format(field="a: 'Absent' = 1"), "NameError: name 'Absent' is not defined"),
        (OPTIONS.format(field="def __post_init__(self): raise ValueError('no\\nway')"), "ValueError: no way"),
    ],
)
def test_options_that_no_table_can_give_are_refused(site: Site, source: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}\n{source}\n{REGISTER.format(classes='Odd')}")
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-odd: Odd.options_type")
    assert problem in fault
    assert fault.endswith("; tell its authors, or uninstall it")


EVALUATOR = """
from hatch_mlbundle.accuracy.evaluator import Evaluator
class Runs(Evaluator):
    name = "runs"
    version = "3"
    def fits(self, model): return False
    def outputs(self, model, samples): return []
"""
REGISTER_EVALUATORS = "@hookimpl\ndef mlbundle_register_evaluators():\n    return [{classes}]\n"
LIST_EVALUATORS = LIST.replace("load_registry().items()", "load_registry().evaluators.items()")


def test_evaluators_come_in_the_order_of_their_names_whatever_brings_them(site: Site) -> None:
    for name in ("zeta", "alpha", "mu"):
        source = EVALUATOR.replace('"runs"', f'"{name}"')
        site.add(f"mlbundle-{name[::-1]}", f"{HEAD}{source}{REGISTER_EVALUATORS.format(classes='Runs')}")
    code, lines = site.load(LIST_EVALUATORS)
    assert code == 0
    added = [line for line in lines if line.endswith(" 2.5")]
    assert added == ["alpha mlbundle-ahpla 2.5", "mu mlbundle-um 2.5", "zeta mlbundle-atez 2.5"]


def test_an_evaluator_whose_name_is_taken_is_refused(site: Site) -> None:
    for name in ("mlbundle-one", "mlbundle-two"):
        site.add(name, f"{HEAD}{EVALUATOR}{REGISTER_EVALUATORS.format(classes='Runs')}")
    assert site.fault() == "evaluator 'runs' is registered by both mlbundle-one and mlbundle-two; uninstall one of them"


@pytest.mark.parametrize(
    ("extra", "classes", "problem"),
    [
        ("", "Demo", "is no subclass of hatch_mlbundle.accuracy.evaluator.Evaluator"),
        ("", "Runs()", "is no subclass of hatch_mlbundle.accuracy.evaluator.Evaluator"),
        ("class Odd(Evaluator):\n    name = version = 'x'", "Odd", "Odd does not define fits() and outputs()"),
        ("class Odd(Evaluator):\n    name = 'x'", "Odd", "Odd lacks a name or a version"),
        ("class Odd(Runs):\n    name = 'my net'", "Odd", "Odd.name is 'my net', which is no lower-case identifier"),
    ],
)
def test_what_is_no_evaluator_is_refused(site: Site, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}{EVALUATOR}\n{extra}\n{REGISTER_EVALUATORS.format(classes=classes)}")
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-odd: ")
    assert problem in fault
    assert fault.endswith("; tell its authors, or uninstall it")


INSPECTOR = """
from hatch_mlbundle.contents.inspector import Inspector
class Tells(Inspector):
    name = "tells"
    version = "3"
    def inspect(self, path): return []
"""
REGISTER_INSPECTORS = "@hookimpl\ndef mlbundle_register_inspectors():\n    return [{classes}]\n"
LIST_INSPECTORS = LIST.replace(
    "for name, each in load_registry().items():\n        print(name,",
    "for each in load_registry().inspectors:\n        print(each.inspector.name,",
)


def test_inspectors_come_ours_first_then_in_the_order_of_their_names(site: Site) -> None:
    for name in ("zeta", "alpha", "mu"):
        source = INSPECTOR.replace('"tells"', f'"{name}"')
        site.add(f"mlbundle-{name[::-1]}", f"{HEAD}{source}{REGISTER_INSPECTORS.format(classes='Tells')}")
    code, lines = site.load(LIST_INSPECTORS)
    assert code == 0
    ours = [line.split()[0] for line in lines if line.split()[1] == OURS]
    assert ours == sorted(ours) == ["elf", "gguf", "macho", "packed", "pe", "safetensors", "torch"]
    assert lines[: len(ours)] == [line for line in lines if line.split()[1] == OURS]
    assert lines[len(ours) :] == ["alpha mlbundle-ahpla 2.5", "mu mlbundle-um 2.5", "zeta mlbundle-atez 2.5"]


@pytest.mark.parametrize(
    ("extra", "classes", "problem"),
    [
        ("", "Demo", "is no subclass of hatch_mlbundle.contents.inspector.Inspector"),
        ("", "Tells()", "is no subclass of hatch_mlbundle.contents.inspector.Inspector"),
        ("class Odd(Inspector):\n    name = version = 'x'", "Odd", "Odd does not define inspect()"),
        ("class Odd(Tells):\n    version = 3", "Odd", "Odd lacks a name or a version"),
        ("class Odd(Tells):\n    name = 'my format'", "Odd", "Odd.name is 'my format', which is no lower-case identifier"),
    ],
)
def test_what_is_no_inspector_is_refused(site: Site, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{extra}\n{REGISTER_INSPECTORS.format(classes=classes)}")
    fault = site.fault()
    assert fault.startswith("plugin mlbundle-odd: ")
    assert problem in fault
    assert fault.endswith("; tell its authors, or uninstall it")


def test_an_inspector_whose_name_is_taken_is_refused(site: Site) -> None:
    odd = "class Odd(Tells):\n    name = 'elf'"
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{odd}\n{REGISTER_INSPECTORS.format(classes='Odd')}")
    assert site.fault() == "inspector 'elf' is registered by both hatch-mlbundle and mlbundle-odd; uninstall one of them"


def test_an_inspector_that_cannot_be_made_is_named(site: Site) -> None:
    odd = "class Odd(Tells):\n    def __init__(self): raise OSError('no\\nway')"
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{odd}\n{REGISTER_INSPECTORS.format(classes='Odd')}")
    assert site.fault() == "plugin mlbundle-odd cannot be loaded (OSError: no way); reinstall or uninstall it"
