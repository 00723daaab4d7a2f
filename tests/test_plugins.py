from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.plugins import OURS, load_registry, optimizer_entries
from tests.sites import HEAD, Site, registering

INSTALLED = {path.name for path in Path(__file__).parents[1].glob("plugins/*")}
"""The project's own plugins, which may be installed or not where the tests run."""

STRANGE = "tell its authors, or uninstall it"


class Installed(Site):
    """A site, and what loading it brings."""

    def optimizers(self) -> list[str]:
        """Return the optimizers in the registry's order, each with its distribution, without those of the project's own plugins."""
        found = (f"{name} {each.distribution} {each.distribution_version}" for name, each in self.registry().items())
        return [line for line in found if line.split()[1] not in INSTALLED]

    def fault(self, code: str) -> str:
        """Return the one finding that loading brings, of this code; all that is ours is there nevertheless."""
        registry = self.registry()
        assert {name for name, each in load_registry().items() if each.distribution == OURS} <= set(registry)
        (finding,) = registry.findings
        assert (finding.code, finding.path, finding.optimizer) == (code, None, None)
        return finding.message


@pytest.fixture
def site(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


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


def test_an_installed_plugin_is_registered_after_ours(site: Installed) -> None:
    site.add("mlbundle-demo", HEAD + registering("Demo"))
    lines = site.optimizers()
    assert lines[-1] == "demo mlbundle-demo 2.5"
    assert [line.split()[1] for line in lines[:-1]] == [OURS] * (len(lines) - 1)


def test_the_order_of_plugins_is_that_of_their_names(site: Installed) -> None:
    names = ["zeta", "alpha", "mu", "beta", "omega", "iota"]
    for name in names:
        site.add(f"mlbundle-{name}", HEAD.replace('"demo"', f'"{name}"') + registering("Demo"))
    assert [line.split()[0] for line in site.optimizers()[-6:]] == sorted(names)


def test_a_plugin_without_optimizers_is_no_fault(site: Installed) -> None:
    site.add("mlbundle-none", HEAD + registering(""))
    site.add("mlbundle-nothing", "")
    assert site.registry().findings == ()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (HEAD + registering("Demo, absent"), "NameError: name 'absent' is not defined"),
        ("from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimizers():\n    return 3\n", "TypeError: "),
        ("from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimiser():\n    return []\n", "unknown hook"),
    ],
)
def test_a_broken_plugin_is_named(site: Installed, source: str, reason: str) -> None:
    site.add("mlbundle-broken", source)
    fault = site.fault("MB106")
    assert fault.startswith("plugin mlbundle-broken cannot be loaded (")
    assert reason in fault
    assert fault.endswith("reinstall or uninstall it")


def test_a_hook_with_other_arguments_is_named(site: Installed) -> None:
    source = "from hatch_mlbundle.hookspecs import hookimpl\n@hookimpl\ndef mlbundle_register_optimizers(bundle):\n    return []\n"
    site.add("mlbundle-broken", source)
    fault = site.fault("MB106")
    assert fault.startswith("plugin mlbundle-broken cannot be loaded (PluginValidationError: ")
    assert fault.endswith("reinstall or uninstall it")


def test_two_entry_points_of_one_module_are_one(site: Installed) -> None:
    site.add("mlbundle-demo", HEAD + registering("Demo"), names=("one", "two"))
    assert site.optimizers()[-1] == "demo mlbundle-demo 2.5"
    assert site.registry().findings == ()


def test_ours_wins_a_clash(site: Installed) -> None:
    site.add("mlbundle-clash", HEAD.replace('"demo"', '"strip"') + registering("Demo"))
    advice = "is not taken, for hatch-mlbundle has one of this name; uninstall it, or ask its authors for another"
    assert site.fault("MB108") == f"optimizer 'strip' of mlbundle-clash {advice}"
    assert site.registry()["strip"].distribution == OURS


def test_of_two_strangers_of_one_name_neither_is_taken(site: Installed) -> None:
    site.add("mlbundle-clash", HEAD + registering("Demo"))
    site.add("mlbundle-demo", HEAD + registering("Demo"))
    told = "optimizer 'demo' is registered by mlbundle-clash and mlbundle-demo, so that neither's is taken; uninstall all but one"
    assert site.fault("MB108") == told
    registry = site.registry()
    assert "demo" not in registry
    with pytest.raises(ConfigurationError) as refusal:
        read_config({"optimizers": ["demo"]}, registry.option_types(), why_missing=registry.why_missing)
    assert str(refusal.value) == f"tool.mlbundle.optimizers[0]: unknown optimizer 'demo'; {told}"


def test_a_name_that_one_plugin_registers_twice_is_not_taken(site: Installed) -> None:
    site.add("mlbundle-demo", f"{HEAD}class Other(Demo): pass\n{registering('Demo, Other')}")
    told = "optimizer 'demo' is registered twice by mlbundle-demo, so that none is taken; tell its authors, or uninstall it"
    assert site.fault("MB108") == told


def test_what_a_missing_plugin_would_have_given_is_refused_with_the_reason(site: Installed) -> None:
    site.add("mlbundle-broken", "import no_such_module_here")
    registry = site.registry()
    assert read_config({}, registry.option_types(), why_missing=registry.why_missing).steps
    with pytest.raises(ConfigurationError) as refusal:
        read_config({"optimizers": ["vanished"], "vanished": {}}, registry.option_types(), why_missing=registry.why_missing)
    (finding,) = registry.findings
    assert refusal.value.faults == (
        f"tool.mlbundle.vanished: unknown key or optimizer; {finding.message}",
        f"tool.mlbundle.optimizers[0]: unknown optimizer 'vanished'; {finding.message}",
    )


def test_what_is_good_of_a_plugin_is_taken(site: Installed) -> None:
    site.add("mlbundle-odd", f"{HEAD}{registering('3, Demo')}")
    assert site.fault("MB107").startswith("plugin mlbundle-odd: 3 is no subclass")
    assert site.optimizers()[-1] == "demo mlbundle-odd 2.5"


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyboardInterrupt", "raise BaseException('no')", "raise MemoryError"])
def test_a_plugin_that_ends_everything_while_it_is_imported_is_named(site: Installed, end: str) -> None:
    site.add("mlbundle-broken", f"import sys\n{end}\n")
    assert site.fault("MB106").startswith("plugin mlbundle-broken cannot be loaded (")


@pytest.mark.parametrize("source", ["import time\ntime.sleep(600)", "while True: pass"])
def test_a_plugin_that_hangs_while_it_is_imported_is_left_out(site: Installed, source: str) -> None:
    site.add("mlbundle-hangs", source)
    (finding,) = site.registry(0.3).findings
    told = "plugin mlbundle-hangs cannot be loaded (took longer than 0.3 seconds in one call and was given up); reinstall or uninstall it"
    assert (finding.code, finding.message) == ("MB106", told)


@pytest.mark.parametrize("name", ["cache", "strict", "limits", "manifest_folder"])
def test_a_name_that_is_a_key_of_ours_is_refused(site: Installed, name: str) -> None:
    site.add("mlbundle-clash", HEAD.replace('"demo"', f'"{name}"') + registering("Demo"))
    problem = f"Demo.name is '{name}', which is a key of [tool.mlbundle]"
    assert site.fault("MB107") == f"plugin mlbundle-clash: {problem}; tell its authors, or uninstall it"


@pytest.mark.parametrize("name", ["", "Demo", "de-mo", "de.mo", "_demo", "1demo", "d\u00e9mo", "demo "])
def test_a_name_that_is_no_identifier_is_refused(site: Installed, name: str) -> None:
    site.add("mlbundle-odd", HEAD.replace('"demo"', repr(name)) + registering("Demo"))
    problem = f"Demo.name is {name!r}, which is no lower-case identifier"
    assert site.fault("MB107") == f"plugin mlbundle-odd: {problem}; tell its authors, or uninstall it"


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
def test_what_is_no_optimizer_is_refused(site: Installed, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}\n{extra}\n{registering(classes)}")
    fault = site.fault("MB107")
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
def test_options_that_no_table_can_give_are_refused(site: Installed, source: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}\n{source}\n{registering('Odd')}")
    fault = site.fault("MB107")
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


def test_evaluators_come_in_the_order_of_their_names_whatever_brings_them(site: Installed) -> None:
    for name in ("zeta", "alpha", "mu"):
        source = EVALUATOR.replace('"runs"', f'"{name}"')
        site.add(f"mlbundle-{name[::-1]}", f"{HEAD}{source}{registering('Runs', 'evaluators')}")
    found = site.registry().evaluators
    added = {name: each.distribution for name, each in found.items() if each.distribution not in INSTALLED}
    assert list(found) == sorted(found)
    assert added == {"alpha": "mlbundle-ahpla", "mu": "mlbundle-um", "zeta": "mlbundle-atez"}


def test_an_evaluator_whose_name_is_taken_is_refused(site: Installed) -> None:
    for name in ("mlbundle-one", "mlbundle-two"):
        site.add(name, f"{HEAD}{EVALUATOR}{registering('Runs', 'evaluators')}")
    told = "evaluator 'runs' is registered by mlbundle-one and mlbundle-two, so that neither's is taken; uninstall all but one"
    assert site.fault("MB108") == told


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
def test_what_is_no_evaluator_is_refused(site: Installed, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}{EVALUATOR}\n{extra}\n{registering(classes, 'evaluators')}")
    fault = site.fault("MB107")
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


def test_inspectors_come_ours_first_then_in_the_order_of_their_names(site: Installed) -> None:
    for name in ("zeta", "alpha", "mu"):
        source = INSPECTOR.replace('"tells"', f'"{name}"')
        site.add(f"mlbundle-{name[::-1]}", f"{HEAD}{source}{registering('Tells', 'inspectors')}")
    found = [(each.inspector.name, each.distribution) for each in site.registry().inspectors if each.distribution not in INSTALLED]
    ours = ["elf", "gguf", "macho", "packed", "pe", "safetensors", "torch"]
    added = [("alpha", "mlbundle-ahpla"), ("mu", "mlbundle-um"), ("zeta", "mlbundle-atez")]
    assert found == [*((name, OURS) for name in ours), *added]


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
def test_what_is_no_inspector_is_refused(site: Installed, extra: str, classes: str, problem: str) -> None:
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{extra}\n{registering(classes, 'inspectors')}")
    fault = site.fault("MB107")
    assert fault.startswith("plugin mlbundle-odd: ")
    assert problem in fault
    assert fault.endswith("; tell its authors, or uninstall it")


def test_an_inspector_whose_name_is_taken_is_refused(site: Installed) -> None:
    odd = "class Odd(Tells):\n    name = 'elf'"
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{odd}\n{registering('Odd', 'inspectors')}")
    advice = "is not taken, for hatch-mlbundle has one of this name; uninstall it, or ask its authors for another"
    assert site.fault("MB108") == f"inspector 'elf' of mlbundle-odd {advice}"


def test_an_inspector_that_cannot_be_made_is_named(site: Installed) -> None:
    odd = "class Odd(Tells):\n    def __init__(self): raise OSError('no\\nway')"
    site.add("mlbundle-odd", f"{HEAD}{INSPECTOR}\n{odd}\n{registering('Odd', 'inspectors')}")
    assert site.fault("MB106") == "plugin mlbundle-odd cannot be loaded (OSError: no way); reinstall or uninstall it"


def test_a_distribution_without_a_name_is_told_of(site: Site) -> None:
    site.add("mlbundle-good", HEAD + registering("Demo"))
    for name, files in {"half": {}, "nameless": {"METADATA": "Metadata-Version: 2.1\n"}}.items():
        info = site.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        for each, text in {**files, "entry_points.txt": f"[mlbundle]\nmain = absent_{name}\n"}.items():
            (info / each).write_text(text)
    registry = site.registry()
    assert registry["demo"].distribution == "mlbundle-good"
    assert [fault.code for fault in registry.faults] == ["MB106", "MB106"]
    assert [name in fault.line for name, fault in zip(["absent_half", "absent_nameless"], registry.faults, strict=True)] == [True, True]
