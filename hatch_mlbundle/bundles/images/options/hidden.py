"""What later layers delete or write again: it is shipped, and no container sees it."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from posixpath import commonpath
from typing import NamedTuple

from hatch_mlbundle.bundles.images.tree import Stored
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.printable import shortened
from hatch_mlbundle.units import format_size

from .evidence import Evidence, Option
from .instructions import Instruction, about, copied, folded, instead_of

_MOST = 12
"""Paths that are named for one layer, and layers that are."""
_CHANGED = re.compile(
    r"ch(?:(?P<own>own)|(?P<mod>mod))(?P<flags>(?: -\w+)*) (?P<how>(?(own)\w[\w:.-]*|[0-7]{3,4}))(?P<what>(?: /[\w./+-]*)+)"
)
"""A change of owner, or of mode in octal digits: what `COPY --chown` and `--chmod` take."""
_MAKES_USER = re.compile(r"(?:useradd|adduser|groupadd|addgroup) .+")


class _Group(NamedTuple):
    """The bytes of the layer `layer` that are hidden under one name by the layer `hider`."""

    layer: int
    hider: int
    path: str
    size: int


def hidden_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what was only given another owner or mode, and all the rest that layers hide."""
    hidden = [each for layer in evidence.layers for each in layer.stored if id(each) not in evidence.names]
    copies = [each for found in evidence.copies.values() for each in found]
    known = set(map(id, copies))
    rest = [each for each in hidden if id(each) not in known]
    if copies:
        yield _owner_option(evidence, copies)
    if rest:
        yield _hidden_option(evidence, rest)


def _groups(hidden: Iterable[Stored]) -> list[_Group]:
    sizes: defaultdict[tuple[int, int, str], int] = defaultdict(int)
    for each in hidden:
        hider, path = (each.hidden.layer, each.hidden.path) if each.hidden else (each.layer, "")
        sizes[each.layer, hider, path] += each.size
    return sorted((_Group(*what, size) for what, size in sizes.items()), key=lambda group: (group.layer, -group.size, group.path))


def _owner_option(evidence: Evidence, copies: Sequence[Stored]) -> Option:
    return Option(
        name="owner-copies",
        title="Set owner and mode where files are made",
        freed=tuple(copies),
        pros=("The files stay just as they are: each is there once, not twice.",),
        cons=(),
        edits=(EditRow(where="Dockerfile", text="\n".join(_owner_edits(evidence, copies))),),
    )


def _owner_edits(evidence: Evidence, copies: Sequence[Stored]) -> Iterator[str]:
    pairs: defaultdict[tuple[int, int], list[Stored]] = defaultdict(list)
    for each in copies:
        if each.hidden:
            pairs[each.hidden.layer, each.layer].append(each)
    largest = sorted(sorted(pairs, key=lambda pair: -_size(pairs[pair]))[:_MOST])
    for hider in sorted({hider for hider, _ in largest}):
        found = {layer: pairs[pair] for pair in largest if pair[0] == hider for layer in pair[1:]}
        yield from _moved(evidence, hider, found)


def _moved(evidence: Evidence, hider: int, copies: Mapping[int, Sequence[Stored]]) -> Iterator[str]:
    """Yield how what the layer `hider` changes is made so at once; `copies` are the files by the number of the layer that makes them."""
    changed = evidence.made_by(hider)
    found = [(command, match) for command in changed.commands if (match := _CHANGED.fullmatch(command))]
    command, match = found[0] if len(found) == 1 else ("", None)
    users = [each for each in changed.commands if _MAKES_USER.fullmatch(each)]
    for layer, files in copies.items():
        yield f"# {format_size(_size(files))} of layer {layer} are written again by layer {hider}: {shortened(str(changed), 40)}"
    if match and users:
        yield f"# before layer {min(copies)}, as only then there is such an owner:"
        yield folded(f"RUN {' && '.join(users)}")
    is_one = len(copies) == 1
    for layer, files in copies.items():
        new = _made_so(evidence.made_by(layer), match, command if is_one else _narrowed(match, files)) if match else None
        if new:
            yield instead_of(layer, evidence.made_by(layer), new)
        else:
            yield f"{about(layer, evidence.made_by(layer))}\n# set both there, or copy the files with `COPY --chown=` and `--chmod=`"
    if match:
        yield f"# and leave out of layer {hider}: {' && '.join([*users, command])}"


def _made_so(made: Instruction, change: re.Match[str], command: str) -> str | None:
    """Return an instruction as its files have the owner or mode at once, None where that cannot be told."""
    place = copied(made)
    if place and made.text.isprintable():
        return f"{made.verb} --ch{change['own'] or change['mod']}={change['how']} {' '.join(place[0]) or 'SOURCE'} {place[1]}"
    return made.followed_by(command) if command else None


def _narrowed(change: re.Match[str] | None, files: Sequence[Stored]) -> str:
    """Return the command for what a layer makes alone: to set anew what a lower one has set would copy that, too."""
    paths = [each.hidden.path for each in files if each.hidden]
    place = "/" + commonpath([min(paths), max(paths)])  # what these two share, all between them do
    if change is None or not place.isprintable():
        return ""
    if change["own"]:
        user, group = re.match(r"([^:.]*)(.*)", change["how"]).groups()  # type: ignore[union-attr]
        test = f"-user {user}" if user else f"-group {group[1:]}"
        return f"find {shlex.quote(place)} ! {test} -exec chown -h {change['how']} {{}} +"
    return f"find {shlex.quote(place)} ! -type l ! -perm {change['how']} -exec chmod {change['how']} {{}} +"


def _size(files: Iterable[Stored]) -> int:
    return sum(each.size for each in files)


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
