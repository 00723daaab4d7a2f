"""Which files of an image steps may change: those of applications and their packages, not those of the system or of Python itself."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from hatch_mlbundle.globs import matcher
from hatch_mlbundle.image_settings import ImageSettings

from .members import Members
from .tree import Leaf

_PACKAGES = re.compile(r"(?!(?:usr/)?lib(?:32|64|x32)?/)(?:.*/)?lib(?:64)?/python\d+\.\d+t?/site-packages/.*")
"""Python's packages outside the system's, wherever the environment lies."""
_PYTHON = re.compile(
    r"(?:.*/)?(?:lib(?:64)?/python\d+\.\d+t?/(?!(?:site|dist)-packages/).*|lib(?:64)?/libpython[\d.]+t?\.so.*"
    r"|include/python\d+\.\d+t?/.*|bin/(?:python|pypy)[\d.]*t?)"
)
"""The interpreter and its standard library, which run whatever else there is."""
_SYSTEM = re.compile(r"(?:etc|proc|sys|dev|run|boot|var/lib/(?:apk|apt(?!/lists/)|dpkg|rpm)|(?:usr/)?lib/apk|usr/lib/sysimage)/.*")
_PRIVILEGED = 0o6000
"""Set-user-ID and set-group-ID (inode(7))."""


class Scope:
    """What [tool.mlbundle.image] lets steps change, by the path alone."""

    def __init__(self, settings: ImageSettings) -> None:
        self._named = matcher(settings.paths)

    def contains(self, path: str) -> bool:
        """Say whether a file at a path may be changed, whatever it is."""
        named = self._named(path) or _PACKAGES.fullmatch(path) is not None
        return named and not (_PYTHON.fullmatch(path) or _SYSTEM.fullmatch(path))


def changeable(scope: Scope, visible: Mapping[str, Leaf], layers: Sequence[Members], base: int) -> frozenset[str]:
    """Return the files and links that a container sees and that can be changed; the lowest `base` layers stay as they are.

    A file with several names can be changed where all of them can. What has a copy in a layer that stays would come back if it were left
    out, and what has the name of a folder below it would bring that back.
    """
    names: defaultdict[int, list[str]] = defaultdict(list)
    for path, leaf in visible.items():
        names[id(leaf)].append(path)
    folders = frozenset[str]().union(*(layer.folders for layer in layers))

    def is_free(path: str, leaf: Leaf) -> bool:
        if leaf.layer <= base or leaf.is_system or leaf.is_capable or leaf.mode & _PRIVILEGED or leaf.is_shared:
            return False
        if not scope.contains(path) or path in folders:
            return False
        copies = (layer.leaves.get(path) for layer in layers[: leaf.layer - 1])
        return not any(copy and (copy.layer <= base or copy.is_shared) for copy in copies)

    bound = {id(leaf) for path, leaf in visible.items() if not is_free(path, leaf)}
    return frozenset(path for path, leaf in visible.items() if id(leaf) not in bound)
