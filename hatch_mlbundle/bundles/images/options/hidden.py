"""What later layers delete or write again: it is shipped, and no container sees it."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hatch_mlbundle.bundles.images.tree import Stored
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.printable import shortened
from hatch_mlbundle.units import format_size

from .evidence import Evidence, Option
from .instructions import copied, instead_of

_MOST = 12
"""Paths that are named for one layer, and layers that are."""
_CHANGED = re.compile(r"\bch(?:(?P<own>own)|(?P<mod>mod))(?: -\w+)* (?P<how>(?(own)[\w:.-]+|[0-7]{3,4}))(?= )")
"""A change of owner, or of mode in octal digits: what `COPY --chown` and `--chmod` take."""


class _Group(NamedTuple):
    """The bytes of the layer `layer` that are hidden under one name by the layer `hider`."""

    layer: int
    hider: int
    path: str
    size: int


def hidden_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what was only given another owner or mode, and all the rest that layers hide."""
    hidden = [each for layer in evidence.layers for each in layer.stored if id(each) not in evidence.names]
    copies = [each for each in hidden if _is_copy(evidence, each)]
    known = set(map(id, copies))
    rest = [each for each in hidden if id(each) not in known]
    if copies:
        yield _owner_option(evidence, copies)
    if rest:
        yield _hidden_option(evidence, rest)


def _is_copy(evidence: Evidence, stored: Stored) -> bool:
    """Say whether a file was hidden by its own bytes: a later layer has them again, as after a change of owner, mode or time."""
    above = evidence.seen.get(stored.hidden.path) if stored.hidden else None
    return above is not None and above.sha256 == stored.sha256 and above.layer > stored.layer and stored.size > 0


def _groups(hidden: Iterable[Stored]) -> list[_Group]:
    sizes: defaultdict[tuple[int, int, str], int] = defaultdict(int)
    for each in hidden:
        hider, path = (each.hidden.layer, each.hidden.path) if each.hidden else (each.layer, "")
        sizes[each.layer, hider, path] += each.size
    return sorted((_Group(*what, size) for what, size in sizes.items()), key=lambda group: (group.layer, -group.size, group.path))


def _owner_option(evidence: Evidence, copies: Sequence[Stored]) -> Option:
    pairs: defaultdict[tuple[int, int], int] = defaultdict(int)
    for each in copies:
        if each.hidden:
            pairs[each.layer, each.hidden.layer] += each.size
    return Option(
        name="owner-copies",
        title="Set owner and mode where files are made",
        freed=tuple(copies),
        pros=("The files stay just as they are: each is there once, not twice.",),
        cons=(),
        edits=(EditRow(where="Dockerfile", text="\n".join(_owner_edits(evidence, pairs))),),
    )


def _owner_edits(evidence: Evidence, pairs: Mapping[tuple[int, int], int]) -> Iterator[str]:
    largest = sorted(sorted(pairs.items(), key=lambda pair: -pair[1])[:_MOST])
    for (layer, hider), size in largest:
        made, changed = evidence.made_by(layer), evidence.made_by(hider)
        match = _CHANGED.search(f"{changed.text} ") if changed.verb == "RUN" and changed.text.isprintable() else None
        place = copied(made)
        yield f"# {format_size(size)} of layer {layer} are written again by layer {hider}: {shortened(str(changed), 40)}"
        if match and place and made.text.isprintable():
            yield instead_of(
                layer, made, f"{made.verb} --ch{match['own'] or match['mod']}={match['how']} {' '.join(place[0]) or 'SOURCE'} {place[1]}"
            )
            yield f"# and leave `{match[0].strip()} ...` out of layer {hider}"
        elif match and made.can_be_extended and changed.can_be_extended:
            yield instead_of(layer, made, f"RUN {made.text} && {changed.text}")
            yield f"# and leave out what made layer {hider}"
        else:
            yield "# do both in one instruction, or copy the files with `COPY --chown=` and `--chmod=`"


def _hidden_option(evidence: Evidence, rest: Sequence[Stored]) -> Option:
    return Option(
        name="hidden-files",
        title="Delete files where they are made",
        freed=tuple(rest),
        pros=("No container sees these bytes: nothing that runs can miss them.",),
        cons=("Squashing gives one layer that shares nothing with the base and with other images, and is downloaded whole.",),
        edits=(
            EditRow(where="Dockerfile", text="\n".join(_hidden_edits(evidence, _groups(rest)))),
            EditRow(where="sh", text="# or all of it, without looking for it:\npodman build --squash-all -t squashed ."),
        ),
    )


def _hidden_edits(evidence: Evidence, groups: Sequence[_Group]) -> Iterator[str]:
    visible = _Visible(evidence.seen)
    by_layer: defaultdict[int, list[_Group]] = defaultdict(list)
    for group in groups:
        by_layer[group.layer].append(group)
    for layer, found in by_layer.items():
        deleted = [group for group in found if group.path and group.path.isprintable() and not visible.has(group.path)]
        named = sorted(deleted, key=lambda group: -group.size)[:_MOST]
        if named:
            remove = f"rm -rf {' '.join(shlex.quote(f'/{group.path}') for group in named)}"
            yield evidence.changed(layer, evidence.made_by(layer).followed_by(remove), remove)
            for hider in sorted({group.hider for group in named}):
                yield f"# and no longer delete it in layer {hider}: {shortened(str(evidence.made_by(hider)), 40)}"
        told = {group.path for group in named}
        yield from _others(evidence, layer, [group for group in found if group.path not in told])


def _others(evidence: Evidence, layer: int, rest: Sequence[_Group]) -> Iterator[str]:
    """Yield what is to be said of files that are written again, or too many to be named."""
    sizes, counts = Counter[int](), Counter[int]()
    names: dict[int, str] = {}
    for group in rest:
        sizes[group.hider] += group.size
        counts[group.hider] += 1
        names.setdefault(group.hider, group.path)
    for hider, size in sorted(sizes.most_common(_MOST)):
        if not size:
            continue
        where = "the layer itself" if hider == layer else f"layer {hider}: {shortened(str(evidence.made_by(hider)), 40)}"
        more = f" and {counts[hider] - 1:,} more" if counts[hider] > 1 else ""
        yield f"# {format_size(size)} of layer {layer} ({shortened('/' + names[hider], 40)}{more})"
        yield f"# are written again or deleted by {where}"


class _Visible:
    """What a container sees, asked by a file's or a folder's name."""

    def __init__(self, seen: Mapping[str, Stored]) -> None:
        self._seen = seen
        self._folders: set[str] | None = None

    def has(self, path: str) -> bool:
        """Say whether there is a file of this name, or one below it."""
        if path in self._seen:
            return True
        if self._folders is None:
            self._folders = {folder for name in self._seen for folder in _above(name)}
        return path in self._folders


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
