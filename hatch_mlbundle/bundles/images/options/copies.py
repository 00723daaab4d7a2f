"""Files that are there more than once: in one layer, where hard links help, or in several, where only one of them need bring it."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from hatch_mlbundle.bundles.images.tree import Stored
from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.printable import shortened
from hatch_mlbundle.units import format_size

from .evidence import Evidence, Option
from .instructions import about

_NAMED = 6
_MOST_TOPS = 20
"""Folders at the top that are named."""
_DISTRIBUTION = re.compile(r"(?P<folder>.*?(?:site|dist)-packages)/(?P<name>[^/]+)")


def copy_options(evidence: Evidence, told: Collection[int]) -> Iterator[Option]:
    """Yield what copies take, those of what no other option takes out: `told` are the `id`s of that."""
    linked, repeated = dict[str, str](), dict[str, str]()
    for first, *others in _groups(evidence, told):
        layers = {evidence.origin(first): first}
        for path in others:
            same = layers.setdefault(evidence.origin(path), path)
            if same != path:
                linked[path] = same
            else:
                repeated[path] = first
    yield from _linked(evidence, linked)
    yield from _repeated(evidence, repeated)


def _groups(evidence: Evidence, told: Collection[int]) -> Iterator[list[str]]:
    """Yield the names of files with the same bytes and mode, the lowest layer's first; hard links are one file already."""
    groups: defaultdict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for path, stored in evidence.seen.items():
        if stored.size and id(stored) not in told:
            groups[stored.sha256, evidence.bundle[path].mode].setdefault(id(stored), path)
    for paths in groups.values():
        if len(paths) > 1:
            yield sorted(paths.values(), key=lambda path: (evidence.origin(path), path))


def _linked(evidence: Evidence, linked: dict[str, str]) -> Iterator[Option]:
    lines, freed = list[str](), list[Stored]()
    for number, paths in evidence.by_layer(linked).items():
        tops = sorted({f"/{path.partition('/')[0]}" for name in paths for path in (name, linked[name])})
        if evidence.size(paths) > evidence.least and len(tops) <= _MOST_TOPS and all(map(str.isprintable, tops)):
            command = f"hardlink --ignore-time {' '.join(map(shlex.quote, tops))}"
            lines.append(evidence.changed(number, evidence.made_by(number).followed_by(command), command))
            freed += [evidence.seen[path] for path in paths]
    if not freed:
        return
    yield Option(
        name="hard-links",
        title="Make copies within a layer hard links",
        freed=tuple(freed),
        pros=("Every path stays and reads the same. A layer stores a hard link as a name alone.",),
        cons=("`hardlink` is a program of util-linux: Debian and Ubuntu have it, Alpine in the package `util-linux-misc`.",),
        edits=(EditRow(where="Dockerfile", text="\n".join(lines)),),
    )


def _repeated(evidence: Evidence, repeated: dict[str, str]) -> Iterator[Option]:
    pairs: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for path, first in repeated.items():
        pairs[evidence.origin(first), evidence.origin(path)].append(path)
    worth = {pair: paths for pair, paths in sorted(pairs.items()) if evidence.size(paths) > evidence.least}
    if not worth:
        return
    yield Option(
        name="repeated-files",
        title="Bring what several layers have once",
        freed=tuple(evidence.seen[path] for paths in worth.values() for path in paths),
        pros=("One copy cannot get out of step with the other, as two installations of a package do.",),
        cons=("Which of the two is used, a program's search path decides: look before one goes.",),
        edits=(EditRow(where="Dockerfile", text="\n".join(_repetitions(evidence, worth, repeated))),),
    )


def _repetitions(evidence: Evidence, pairs: Mapping[tuple[int, int], list[str]], repeated: Mapping[str, str]) -> Iterator[str]:
    for (lower, upper), paths in pairs.items():
        sizes: Counter[tuple[str, str]] = Counter()
        for path in paths:
            sizes[_part(repeated[path]), _part(path)] += evidence.seen[path].size
        yield about(lower, evidence.made_by(lower))
        yield about(upper, evidence.made_by(upper))
        yield f"# both bring the same {format_size(sizes.total())}; let one of them do without:"
        yield from _named(sizes.most_common())


def _named(parts: Sequence[tuple[tuple[str, str], int]]) -> Iterator[str]:
    for (first, second), size in parts[:_NAMED]:
        yield f"#   {format_size(size)}: {shortened(first, 60)}"
        yield f"#     again: {shortened(second, 60)}"
    if len(parts) > _NAMED:
        yield f"#   [{len(parts) - _NAMED:,} others]"


def _part(path: str) -> str:
    """Return the package's folder that a file is in, else its own folder."""
    match = _DISTRIBUTION.match(path)
    return f"/{match[0]}" if match else f"/{path.rpartition('/')[0]}"
