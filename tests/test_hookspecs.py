"""The plugin API is typed and documented, all of it; the examples of its page run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hatch_mlbundle
from hatch_mlbundle import api, hookspecs
from hatch_mlbundle.application import optimize
from hatch_mlbundle.config import read_config
from hatch_mlbundle.job import prepare
from tests.sites import Site

DOCS = Path(hatch_mlbundle.__file__).parents[1] / "docs"
PAGE = (DOCS / "hookspecs.md").read_text(encoding="utf-8")


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plugin_api = loaded(DOCS / "plugin_api.py")
ENTRIES = plugin_api.entries()
HOOKS = plugin_api.hooks()


def faults(entry: plugin_api.Entry) -> list[str]:  # type: ignore[name-defined]
    """Return what an entry lacks: docstrings of it and of its methods, annotations."""
    undocumented = [each.name for each in (entry, *entry.members) if not each.doc and ("def " in each.signature or each is entry)]
    unannotated = [f"{each.name}: {name}" for each in (entry, *entry.members) for name in each.missing]
    return [*undocumented, *unannotated]


def section(name: str) -> str:
    """Return what the page says under the heading of a name."""
    _, _, rest = PAGE.partition(f"### `{name}`\n")
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def examples() -> dict[str, str]:
    """Return each example of the page by the name of its module."""
    sources = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    return {source.split("\n", 1)[0].removeprefix("# ").removesuffix(".py"): source for source in sources}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_typed_and_documented_with_an_example(name: str) -> None:
    assert faults(HOOKS[name]) == []
    assert HOOKS[name].doc in section(name)
    assert HOOKS[name].signature in section(name)
    assert f"def {name}(" in "".join(re.findall(r"```python\n(.*?)```", section(name), flags=re.DOTALL))


def test_the_hooks_are_those_that_pluggy_knows() -> None:
    marked = [name for name, each in vars(hookspecs).items() if hasattr(each, f"{hookspecs.PROJECT}_spec")]
    assert marked == list(HOOKS)
    assert len(marked) >= 3


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_of_the_api_is_typed_and_documented(name: str) -> None:
    assert faults(ENTRIES[name]) == []
    assert ENTRIES[name].signature in section(name)


def test_every_name_of_the_api_can_be_imported_from_it_and_no_other_is_told_of() -> None:
    assert [name for name in api.__all__ if not hasattr(api, name)] == []
    assert list(api.__all__) == [name for name in api.__all__ if not name.startswith("_")]
    assert set(re.findall(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE)) == {*api.__all__, *HOOKS}


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        ("def f(a, *, b: int) -> None: 'Doc.'", ["f: a"]),
        ("def f(a: int): 'Doc.'", ["f: what it returns"]),
        ("def f(*a: int, **b) -> None: 'Doc.'", ["f: b"]),
        ("def f() -> None: ...", ["f"]),
        ("class C:\n    'Doc.'\n    def f(self) -> None: ...\n    def _g(self): ...", ["f"]),
        ("class C:\n    'Doc.'\n    @property\n    def f(self): 'Doc.'", ["f: what it returns"]),
        ("class C:\n    'Doc.'\n    a = 3", ["a: a type"]),
        ("class C(str, Enum):\n    'Doc.'\n    A = 'a'", []),
        ("class C:\n    a: int", ["C"]),
        ("X = 3\n'Doc.'", []),
        ("X = 3\nY = 4\n'Doc.'", ["X"]),
    ],
)
def test_what_is_lacking_is_found(tmp_path: Path, source: str, lacking: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"lacking_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert faults(plugin_api._entry(source.split(maxsplit=2)[0 if source[0] == "X" else 1].split("(")[0].rstrip(":"), module)) == lacking


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site in which the examples are installed."""
    site = Site(tmp_path_factory.mktemp("site"))
    for module, source in examples().items():
        site.add(module.replace("_", "-"), source)
    return site


def test_the_optimizer_of_the_page_works(site: Site, tmp_path: Path) -> None:
    artifact = tmp_path / "dist" / "web"
    artifact.mkdir(parents=True)
    (artifact / "a.js").write_text("let a = 1\n//# sourceMappingURL=a.js.map\n")
    (artifact / "a.js.map").write_text("{}")
    (artifact / "b.js").write_text("let b = 2\n")
    with site.installed():
        registry = site.registry()
        config = read_config({"optimizers": ["source_maps"]}, registry.option_types())
        manifest = optimize(prepare(config, registry, project=tmp_path), artifact).manifest
    assert manifest.findings == ()
    assert {path.name: path.read_text() for path in artifact.iterdir()} == {"a.js": "let a = 1\n", "b.js": "let b = 2\n"}
    assert [(row.path, row.detail) for row in manifest.details] == [("a.js", {"lines": 1})]


def test_the_evaluator_of_the_page_works(site: Site, tmp_path: Path) -> None:
    registry = site.registry()
    evaluator = registry.evaluators["table"].evaluator()
    model = tmp_path / "model.table"
    model.write_text("1 2\n3 4\n")
    assert evaluator.fits(model)
    (outputs,) = evaluator.outputs(model, api.Samples(rows=[{"values": [1.0, 10.0]}]))
    assert outputs["sum"].tolist() == [31.0, 42.0]


def test_the_inspector_of_the_page_works(site: Site, tmp_path: Path) -> None:
    (inspector,) = (each.inspector for each in site.registry().inspectors if each.inspector.name == "weights")
    path = tmp_path / "x.weights"
    path.write_bytes((3).to_bytes(8, "little") + bytes(12) + bytes(10))
    (inside,) = inspector.inspect(path)
    assert list(inside.extents) == [api.Extent(8, 20, "F32"), api.Extent(20, 30, "F16")]
