"""The optimizers of pictures keep the laws of every optimizer."""

from __future__ import annotations

from functools import cache

import pytest
from mlbundle_images.minify_svg import MinifySvg
from mlbundle_images.recompress import RecompressJpeg, RecompressPng
from picturesmith import pictures

from hatch_mlbundle.testing import LAWS
from hatch_mlbundle.testing.law import Case, case_of
from hatch_mlbundle.testing.laws import check_here

OPTIMIZERS = [MinifySvg, RecompressJpeg, RecompressPng]
QUICK = [name for name in LAWS if name not in ("deterministic", "safe")]


@cache
def case(optimizer: type) -> Case:
    return case_of(optimizer, pictures())


@pytest.mark.parametrize("law", [*QUICK, pytest.param("safe", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: each.name)
def test_the_laws(optimizer: type, law: str) -> None:
    assert case(optimizer).plain.changed
    LAWS[law].check(case(optimizer))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: each.name)
def test_the_same_comes_of_it_each_time(optimizer: type) -> None:
    check_here(case(optimizer))
