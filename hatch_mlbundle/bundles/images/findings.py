"""What each layer brings to an image, and what later layers hide of it: that is shipped all the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from hatch_mlbundle.manifest import LayerRow
from hatch_mlbundle.model import Finding
from hatch_mlbundle.printable import shortened
from hatch_mlbundle.units import format_size

from .layer import Layer

_WORTH_TELLING = 10**6
"""Bytes hidden that are worth a finding: each layer that installs something hides a little, such as the lists of packages."""
_MOST_NAMED = 3
_LONGEST = 80


def layer_rows(layers: Sequence[Layer], made_by: Sequence[str], seen: Collection[int]) -> tuple[LayerRow, ...]:
    """Return a row for each layer; `seen` are the `id`s of the `Stored` that a container sees, `made_by` what made each layer."""
    known: set[str] = set()
    return tuple(_row(layer, made, seen, known) for layer, made in zip(layers, made_by, strict=True))


def image_findings(layers: Sequence[Layer], seen: Collection[int]) -> tuple[Finding, ...]:
    """Return what a person should know of these layers; `seen` as in `layer_rows`."""
    others = [str(layer.tree.number) for layer in layers if not layer.is_as_configured]
    told = [_hidden(layers, seen)]
    if others:
        message = (
            f"layers {', '.join(others)} unpack to other bytes than the configuration names; Docker and containerd refuse such an image"
        )
        told.append(Finding(code="MB802", message=message))
    return tuple(finding for finding in told if finding)


def _hidden(layers: Sequence[Layer], seen: Collection[int]) -> Finding | None:
    """Return the finding for what layers hide of lower ones, with the largest files of it; None where it is little."""
    hidden = [each for layer in layers for each in layer.stored if id(each) not in seen]
    size = sum(each.size for each in hidden)
    if size < _WORTH_TELLING:
        return None
    groups: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    for each in hidden:
        if each.hidden:
            groups[each.hidden.path, each.hidden.layer, each.layer] += each.size
    ordered = sorted(groups.items(), key=lambda group: (-group[1], group[0]))
    named = "; ".join(_told(*what, size) for what, size in ordered[:_MOST_NAMED])
    rest = f"; [{len(ordered) - _MOST_NAMED:,} others]" if len(ordered) > _MOST_NAMED else ""
    stored = format_size(sum(each.compressed for each in hidden))
    message = (
        f"{format_size(size)} ({stored} as stored) are hidden by later layers, but shipped all the same: {named}{rest}; "
        "remove or change a file in the instruction that makes it"
    )
    return Finding(code="MB801", message=message)


def _row(layer: Layer, created_by: str, seen: Collection[int], known: set[str]) -> LayerRow:
    """Return the row of a layer; `known` are the hashes of all files in those below it, and then its own as well."""
    repeated = []
    for each in layer.stored:
        if each.sha256 in known:
            repeated.append(each)
        known.add(each.sha256)
    shown = [each for each in layer.stored if id(each) in seen]
    hidden = [each for each in layer.stored if id(each) not in seen]
    return LayerRow(
        digest=str(layer.digest),
        created_by=created_by,
        size=layer.size,
        files=len(shown),
        installed=sum(each.size for each in shown),
        compressed=sum(each.compressed for each in shown),
        hidden_installed=sum(each.size for each in hidden),
        hidden_compressed=sum(each.compressed for each in hidden),
        repeated_installed=sum(each.size for each in repeated),
        repeated_compressed=sum(each.compressed for each in repeated),
    )


def _told(path: str, hider: int, layer: int, size: int) -> str:
    by = f"layer {hider} hides it" if hider != layer else "which has it twice"
    return f"{shortened(path, _LONGEST) or '/'} ({format_size(size)} of layer {layer}, {by})"
