from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizers.exclude_modules import ExcludeModules, ExcludeModulesOptions
from tests.builders import PlainContext, Plan, bundle_of, plan_of
from tests.pythons import compile_with

ELF = b"\x7fELF" + bytes(60)


def frozen(files: Mapping[str, str | bytes]) -> Bundle:
    """Return a frozen bundle: `.py` below `pyz/` as bytecode in the archive of `app`, the rest in its folder of contents."""
    contents: dict[str, bytes | str] = {}
    for path, text in files.items():
        if path.startswith("pyz/"):
            assert isinstance(text, str)
            contents[f"_internal/app.pyz/{path.removeprefix('pyz/')}c"] = compile_with(sys.executable, text)
        else:
            contents[f"_internal/{path}"] = text
    return bundle_of(contents)


def plan(files: Mapping[str, str | bytes], context: PlainContext | None = None, **options: Sequence[str]) -> Plan:
    return plan_of(ExcludeModules(ExcludeModulesOptions(**options)), frozen(files), context)  # type: ignore[arg-type]


def names(paths: Mapping[str, str]) -> list[str]:
    return [path.removeprefix("_internal/").replace("app.pyz/", "pyz/") for path in paths]


APP = {"pyz/app.py": "import numpy"}
IPYTHON = {
    "pyz/IPython/__init__.py": "from .core import shell",
    "pyz/IPython/core/__init__.py": "",
    "pyz/IPython/core/shell.py": "",
    "IPython/core/profile/startup.txt": "hello",
    "IPython/core/LICENSE": "BSD",
    "IPython/core/_speed.cpython-311-x86_64-linux-gnu.so": ELF,
    "IPython/core/libhelper.so": ELF,
    "ipython-9.0.dist-info/METADATA": "Name: ipython",
}


def test_a_set_goes_with_its_data_and_says_why() -> None:
    result = plan({**APP, **IPYTHON}, sets=["notebooks"])
    assert sorted(names(result.dropped)) == [
        "IPython/core/_speed.cpython-311-x86_64-linux-gnu.so",
        "IPython/core/profile/startup.txt",
        "pyz/IPython/__init__.pyc",
        "pyz/IPython/core/__init__.pyc",
        "pyz/IPython/core/shell.pyc",
    ]
    assert result.dropped["_internal/app.pyz/IPython/core/shell.pyc"] == ("set 'notebooks': it belongs to notebooks and interactive shells")
    assert not result.findings


@pytest.mark.parametrize(
    "user",
    [
        {"pyz/numpy/__init__.py": "import IPython.core.shell"},
        {"pyz/numpy/__init__.py": "from IPython.core import shell"},
        {"pyz/numpy/__init__.py": "try:\n    import IPython.core.shell\nexcept ImportError:\n    raise RuntimeError"},
        {"pyz/numpy/__init__.py": "from . import extra", "pyz/numpy/extra.py": "class C:\n    from IPython.core.shell import x"},
        {"pyz/app.py": "def main():\n    import IPython.core.shell"},
        {"numpy.py": "import IPython.core.shell"},
    ],
)
def test_what_something_that_stays_needs_stays_with_all_it_needs(user: Mapping[str, str]) -> None:
    result = plan({**APP, **IPYTHON, **user}, sets=["notebooks"])
    assert {"pyz/IPython/__init__.pyc", "pyz/IPython/core/__init__.pyc", "pyz/IPython/core/shell.pyc"} <= set(names(result.kept))
    assert any("imports it" in reason for reason in result.kept.values())
    assert "IPython/core/profile/startup.txt" not in names(result.dropped)


@pytest.mark.parametrize(
    "user",
    [
        {"pyz/numpy/__init__.py": "def f():\n    import IPython"},
        {"pyz/numpy/__init__.py": "try:\n    import IPython\nexcept ImportError:\n    IPython = None"},
        {"pyz/numpy/__init__.py": "import typing\nif typing.TYPE_CHECKING:\n    import IPython"},
        {"pyz/app.py": "def main():\n    try:\n        import IPython\n    except ImportError:\n        pass"},
        {"pyz/ipykernel/__init__.py": "import IPython.core.shell"},
    ],
)
def test_what_others_can_do_without_goes(user: Mapping[str, str]) -> None:
    result = plan({**APP, **IPYTHON, **user}, sets=["notebooks"])
    assert "pyz/IPython/core/shell.pyc" in names(result.dropped)
    assert not result.kept


def test_a_tool_stays_whole_where_any_of_it_stays() -> None:
    files = {**APP, **IPYTHON, "pyz/IPython/extension.py": "", "pyz/numpy/__init__.py": "import IPython.core.shell"}
    assert plan(files, sets=["notebooks"]).kept["_internal/app.pyz/IPython/extension.pyc"] == "IPython stays whole"


def test_a_module_goes_with_its_source() -> None:
    files = {"pyz/torch/__init__.py": "", "pyz/torch/_lazy/__init__.py": "", "torch/_lazy/__init__.py": "", "torch/_lazy/__init__.pyi": ""}
    assert names(plan(files, sets=["torch-export"]).dropped) == [
        "pyz/torch/_lazy/__init__.pyc",
        "torch/_lazy/__init__.py",
        "torch/_lazy/__init__.pyi",
    ]


def test_a_set_that_the_application_shows_it_uses_stays() -> None:
    files = {
        "pyz/torch/__init__.py": "",
        "pyz/torch/_inductor/__init__.py": "",
        "pyz/app.py": "import torch\ndef main(model):\n    return torch.compile(model)",
    }
    result = plan(files, sets=["compilers"])
    assert not result.dropped
    assert [(finding.code, "torch.compile" in finding.message) for finding in result.findings] == [("MB311", True)]
    assert names(plan({**files, "pyz/app.py": "import re\nre.compile('x')"}, sets=["compilers"]).dropped) == [
        "pyz/torch/_inductor/__init__.pyc"
    ]


def test_modules_and_keep_are_dotted_names() -> None:
    files = {**APP, "pyz/a/__init__.py": "", "pyz/a/b.py": "", "pyz/a/c.py": "", "pyz/ab.py": ""}
    result = plan(files, sets=[], modules=["a", "missing"], keep=["a.b"])
    assert names(result.dropped) == ["pyz/a/c.pyc"]
    assert result.kept == {"_internal/app.pyz/a/__init__.pyc": "package of a.b, which stays"}
    assert [finding.code for finding in result.findings] == ["MB312"]


def test_files_that_exclude_names_stay() -> None:
    context = PlainContext(left_alone=frozenset({"_internal/app.pyz/IPython/core/shell.pyc"}))
    result = plan({**APP, **IPYTHON}, context, sets=["notebooks"])
    assert result.kept["_internal/app.pyz/IPython/core/shell.pyc"] == "left alone by `include` and `exclude`"
    assert "pyz/IPython/core/__init__.pyc" in names(result.kept)


def test_a_compiler_for_protocol_buffers_goes_with_the_build_tools() -> None:
    files = {**APP, "torch/bin/protoc": ELF, "torch/bin/torch_shm_manager": ELF, "other/bin/protoc": ELF}
    assert names(plan(files, sets=["build-tools"]).dropped) == ["torch/bin/protoc"]


def test_where_bytecode_cannot_be_read_nothing_goes() -> None:
    bundle = frozen({**APP, **IPYTHON}).replacing([*bundle_of({"_internal/app.pyz/future.pyc": b"code of another release"}).values()])
    result = plan_of(ExcludeModules(ExcludeModulesOptions(sets=("notebooks",))), bundle)
    assert not result.dropped
    assert [(finding.code, finding.path) for finding in result.findings] == [("MB316", "_internal/app.pyz/future.pyc")]


def test_a_bundle_of_no_executable_is_left_alone() -> None:
    assert not plan({"readme.txt": "hello"}).dropped


FAMILIES = {
    "pyz/transformers/__init__.py": "",
    "pyz/transformers/models/__init__.py": "",
    "pyz/transformers/models/auto/__init__.py": "",
    "pyz/transformers/models/auto/modeling_auto.py": "names = {'bert': 'BertModel', 'gpt2': 'GPT2Model'}",
    **{
        f"pyz/transformers/models/{family}/{name}.py": text
        for family, model_type, title in [("bert", "bert", "Bert"), ("gpt2", "gpt2", "GPT2"), ("data2vec", "data2vec-text", "Data2VecText")]
        for name, text in {
            "__init__": "",
            f"configuration_{family}": f"class {title}Config:\n    model_type = {model_type!r}",
            f"modeling_{family}": f"class {title}Model:\n    pass",
        }.items()
    },
    "transformers/models/gpt2/modeling_gpt2.py": "",
    "transformers/models/gpt2/__init__.py": "",
}


def config(**values: object) -> dict[str, str]:
    return {"model/config.json": json.dumps(values)}


def families_left(result: Plan) -> set[str]:
    gone = {name.split("/")[3] for name in names(result.dropped) if name.startswith("pyz/transformers/models/")}
    return {"bert", "gpt2", "data2vec"} - gone


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (config(model_type="bert"), {"bert"}),
        (config(model_type="data2vec-text"), {"data2vec"}),
        (config(model_type="bert", decoder={"model_type": "gpt2"}), {"bert", "gpt2"}),
        ({**config(model_type="bert"), "model/tokenizer_config.json": '{"tokenizer_class": "GPT2TokenizerFast"}'}, {"bert", "gpt2"}),
        ({**config(model_type="bert"), "pyz/app.py": "from transformers import GPT2Model"}, {"bert", "gpt2"}),
        ({**config(model_type="bert"), "pyz/diffusers.py": "from transformers import GPT2Model"}, {"bert", "gpt2"}),
        ({"pyz/app.py": "def main():\n    from transformers.models.gpt2 import modeling_gpt2"}, {"gpt2"}),
        (
            {**config(model_type="bert"), "pyz/transformers/models/bert/modeling_bert.py": "from ..gpt2 import modeling_gpt2"},
            {"bert", "gpt2"},
        ),
    ],
)
def test_the_families_of_the_models_in_the_bundle_stay(files: Mapping[str, str], expected: set[str]) -> None:
    result = plan({**APP, **FAMILIES, **files}, sets=["transformers-models"])
    kept = {name.split("/")[3] for name in names(result.kept) if name.count("/") > 3}
    assert families_left(result) | kept == expected
    assert not result.findings


def test_a_family_leaves_its_package_and_the_search_for_models_behind() -> None:
    result = plan({**APP, **FAMILIES, **config(model_type="bert")}, sets=["transformers-models"])
    gone = [name for name in names(result.dropped) if "gpt2" in name]
    assert gone == [
        "pyz/transformers/models/gpt2/configuration_gpt2.pyc",
        "pyz/transformers/models/gpt2/modeling_gpt2.pyc",
        "transformers/models/gpt2/modeling_gpt2.py",
    ]


@pytest.mark.parametrize(
    "files", [{}, config(model_type="unheard-of"), {"model/config.json": "{"}, {"model/config.json": '["model_type"]'}]
)
def test_where_nothing_tells_the_family_none_goes(files: Mapping[str, str]) -> None:
    result = plan({**APP, **FAMILIES, **files}, sets=["transformers-models"])
    assert not result.dropped
    assert [(finding.code, "families = [" in finding.message) for finding in result.findings] == [("MB313", True)]


def test_families_can_be_named() -> None:
    result = plan({**APP, **FAMILIES}, sets=["transformers-models"], families=["gpt2", "gpt3"])
    assert families_left(result) == {"gpt2"}
    assert [finding.code for finding in result.findings] == ["MB314"]


def test_paths_are_the_bundles_own(tmp_path: Path) -> None:
    assert set(plan({**APP, **IPYTHON}).dropped) <= set(frozen({**APP, **IPYTHON}))
