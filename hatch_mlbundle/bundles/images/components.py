"""What an image is made of as a person would say it: the system, Python packages with versions, CUDA libraries, models, caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hatch_mlbundle.manifest import ComponentRow
from hatch_mlbundle.model import Bundle

from .layer import Layer


def components(bundle: Bundle, layers: Sequence[Layer], compressed: Mapping[str, int]) -> tuple[ComponentRow, ...]:
    """Return the components, the largest first; each file that a container sees is in exactly one of them."""
    raise NotImplementedError
