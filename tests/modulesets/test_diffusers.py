from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from tests.builders import Plan
from tests.optimizers.test_exclude_modules import names, plan

DIFFUSERS = {
    "pyz/diffusers/__init__.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING or DIFFUSERS_SLOW_IMPORT:\n    from .pipelines.flux import pipeline_flux"
    ),
    "pyz/diffusers/utils.py": "DIFFUSERS_SLOW_IMPORT = False",
    "pyz/diffusers/pipelines/__init__.py": "",
    "pyz/diffusers/pipelines/pipeline_utils.py": "def f():\n    from .flux.pipeline_flux import FluxPipeline",
    "pyz/diffusers/pipelines/ddim/__init__.py": "",
    "pyz/diffusers/pipelines/ddim/pipeline_ddim.py": (
        "from ...models import UNet2DModel\nfrom ...schedulers import DDIMScheduler\nclass DDIMPipeline:\n    pass"
    ),
    "pyz/diffusers/pipelines/flux/__init__.py": "",
    "pyz/diffusers/pipelines/flux/pipeline_flux.py": "from transformers import GPT2Model\nclass FluxPipeline:\n    pass",
    "pyz/diffusers/models/__init__.py": "",
    "pyz/diffusers/models/unets/__init__.py": "",
    "pyz/diffusers/models/unets/unet_2d.py": "from .unet_2d_blocks import Block\nclass UNet2DModel:\n    pass",
    "pyz/diffusers/models/unets/unet_2d_blocks.py": "class Block:\n    pass",
    "pyz/diffusers/models/unets/unet_3d.py": "class UNet3DModel:\n    pass",
    "pyz/diffusers/schedulers/__init__.py": "",
    "pyz/diffusers/schedulers/scheduling_utils.py": "class KarrasDiffusionSchedulers:\n    DDIMScheduler = 1\n    PNDMScheduler = 2",
    "pyz/diffusers/schedulers/scheduling_ddim.py": (
        "from .scheduling_utils import KarrasDiffusionSchedulers\nclass DDIMScheduler:\n    _compatibles = list(KarrasDiffusionSchedulers)"
    ),
    "pyz/diffusers/schedulers/scheduling_pndm.py": "class PNDMScheduler:\n    pass",
    "pyz/diffusers/schedulers/scheduling_lcm.py": "class LCMScheduler:\n    pass",
}
INDEX = {"model/model_index.json": json.dumps({"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"], "n": [None, None]})}


def gone(result: Plan) -> set[str]:
    return {name.rpartition("/")[2].removesuffix(".pyc") for name in names(result.dropped)}


def planned(files: Mapping[str, str], classes: Sequence[str] = ()) -> Plan:
    return plan({**DIFFUSERS, **files}, sets=["diffusers-models"], classes=classes)


def test_what_the_models_in_the_bundle_need_stays() -> None:
    result = planned(INDEX)
    assert gone(result) == {"pipeline_flux", "unet_3d", "scheduling_lcm"}
    assert not result.findings


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        ({"model/scheduler/scheduler_config.json": '{"_class_name": "LCMScheduler"}'}, []),
        ({"pyz/app.py": "def main():\n    from diffusers import LCMScheduler"}, []),
        ({"pyz/diffusers/loaders.py": "from .schedulers import LCMScheduler"}, []),
        ({"pyz/diffusers/loaders.py": "from .schedulers.scheduling_lcm import LCMScheduler"}, []),
        ({}, ["LCMScheduler"]),
    ],
)
def test_what_something_else_names_stays(files: Mapping[str, str], classes: list[str]) -> None:
    assert gone(planned({**INDEX, **files}, classes)) == {"pipeline_flux", "unet_3d"}


@pytest.mark.parametrize("files", [{}, {"model/model_index.json": "{"}, {"model/config.json": '{"model_type": "bert"}'}])
def test_where_no_class_is_named_none_goes(files: Mapping[str, str]) -> None:
    result = planned(files)
    assert not result.dropped
    assert [finding.code for finding in result.findings] == ["MB315"]


def test_the_text_models_of_pipelines_that_go_may_go_too() -> None:
    families = {
        f"pyz/transformers/models/{path}.py": ""
        for path in ("__init__", "auto/__init__", "bert/__init__", "bert/modeling_bert", "gpt2/__init__", "gpt2/modeling_gpt2")
    }
    files = {**DIFFUSERS, **families, **INDEX, "pyz/transformers/__init__.py": "", "text/config.json": '{"model_type": "bert"}'}
    with_both = plan(files, sets=["diffusers-models", "transformers-models"])
    assert "modeling_gpt2" in gone(with_both)
    assert "modeling_gpt2" not in gone(plan(files, sets=["transformers-models"]))
