"""What a named set of modules is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSet:
    """Modules that go together.

    `why` ends the sentence "it goes, because ...". `modules` are dotted names, each with everything below it; `but` are names below
    them that stay. `programs` are globs, relative to the bundle's folder of contents, of programs that go with them. `signs` are
    attributes (`torch.compile`) by which an application shows that it wants the set.
    """

    why: str
    modules: tuple[str, ...]
    but: tuple[str, ...] = ()
    divisible: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()

    @property
    def whole(self) -> frozenset[str]:
        """The packages that go whole or stay whole."""
        return frozenset(name for name in self.modules if "." not in name and name not in self.divisible)

    def holds(self, name: str) -> bool:
        """Say whether a module is in the set."""
        return is_below(name, self.modules) and not is_below(name, self.but)


def is_below(name: str, roots: tuple[str, ...] | frozenset[str]) -> bool:
    """Say whether a dotted name is one of `roots`, or below one."""
    while name:
        if name in roots:
            return True
        name = name.rpartition(".")[0]
    return False
