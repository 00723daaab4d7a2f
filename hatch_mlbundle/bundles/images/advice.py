"""What could be done about an image: found in its files alone, ranked by what it saves."""

from __future__ import annotations

from collections.abc import Sequence

from hatch_mlbundle.manifest import AdviceRow, ComponentRow, ContentsRow, LayerRow
from hatch_mlbundle.model import Bundle

from .layer import Layer


def advice(
    bundle: Bundle, layers: Sequence[Layer], rows: Sequence[LayerRow], components: Sequence[ComponentRow], contents: Sequence[ContentsRow]
) -> tuple[AdviceRow, ...]:
    """Return the options, the one that saves most first; of each, what it alone saves, and which bytes several of them share."""
    raise NotImplementedError
