"""What could be done about an image: found in its files and layers alone, ranked by what it saves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from hatch_mlbundle.manifest import AdviceRow, ContentsRow, LayerRow, Saved
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.models.external import BundledModel

from .layer import Layer
from .options.baked_models import model_options
from .options.caches import cache_options
from .options.conda import conda_options
from .options.context_files import context_options
from .options.copies import copy_options
from .options.evidence import Evidence, Option
from .options.gpu import gpu_options
from .options.hidden import hidden_options
from .options.python_files import python_options
from .options.system_files import system_options
from .tree import Stored

_FINDERS = (
    cache_options,
    hidden_options,
    model_options,
    gpu_options,
    python_options,
    system_options,
    context_options,
    conda_options,
)


def advice(
    bundle: Bundle,
    seen: Mapping[str, Stored],
    layers: Sequence[Layer],
    rows: Sequence[LayerRow],
    models: Sequence[BundledModel],
    contents: Sequence[ContentsRow] = (),
) -> tuple[AdviceRow, ...]:
    """Return the options, the one that saves most first; of each, what it alone saves, and what of that no option before it does.

    Sizes are of all layers, what they hide as well: that is what a host stores and downloads. `seen` are the bytes behind each name of
    a regular file that a container sees, hard links too; `rows` tell of the layers, `models` are those of the bundle, and `contents` tell
    of the GPU code in it, as far as that was read.
    """
    evidence = Evidence.of(bundle, seen, layers, rows, models, contents)
    options = list(chain.from_iterable(find(evidence) for find in _FINDERS))
    told = {id(stored) for option in options for stored in option.freed}
    options += copy_options(evidence, told)
    worth = [option for option in options if not option.freed or _saved(option.freed).installed > evidence.least]
    ordered = sorted(worth, key=_rank)
    before: set[int] = set()
    found = []
    for option in ordered:
        found.append(_row(option, before))
        before.update(map(id, option.freed))
    return tuple(found)


def _rank(option: Option) -> tuple[int, int, str]:
    saved = _saved(option.freed)
    return -saved.installed, -(saved.compressed or 0), option.name


def _row(option: Option, before: Collection[int]) -> AdviceRow:
    return AdviceRow(
        name=option.name,
        title=option.title,
        saved=_saved(option.freed),
        adds=_saved(stored for stored in option.freed if id(stored) not in before),
        files=len(option.freed),
        pros=option.pros,
        cons=option.cons,
        edits=option.edits,
    )


def _saved(freed: Iterable[Stored]) -> Saved:
    installed = compressed = 0
    for stored in freed:
        installed += stored.size
        compressed += stored.compressed
    return Saved(installed=installed, compressed=compressed)
