"""Find the imports in the instructions of a code object, and which of them its module cannot do without.

Instructions, exception tables and jumps: CPython, Objects/exception_handling_notes.txt and Lib/opcode.py of Python 3.10 to 3.13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .marshalled_code import OPTIMIZED, Code

GUARDS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
"""Names of the exceptions that a failed import raises: whoever handles one can do without the module."""

CHECKING = frozenset({"TYPE_CHECKING", "DIFFUSERS_SLOW_IMPORT"})
"""Names that are false while an application runs: the second is diffusers', true where an environment variable asks for it."""

_LONGEST_CLAUSE = 64
"""Instructions within which an `except` clause that handles one of these names it."""
_CACHES_OF_3_11 = 4
"""Units behind LOAD_ATTR in Python 3.11; from 3.12 on there are more, and its argument's lowest bit says whether a method is wanted."""


class Instruction(NamedTuple):
    """One instruction: `at` and `end` are where it and its argument lie, in units of two bytes."""

    at: int
    end: int
    name: str
    argument: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeImport:
    """One import: `from {'.' * level}{module} import {names}`, or `import {module}` where there are no names.

    `at_import` says that it runs whenever the module is imported, `guarded` that the module handles its failure.
    """

    level: int
    module: str
    names: tuple[str, ...]
    at_import: bool
    guarded: bool


_NAMES_3_10 = {
    100: "LOAD_CONST", 101: "LOAD", 106: "LOAD_ATTR", 108: "IMPORT_NAME", 114: "JUMP_IF_FALSE", 116: "LOAD", 121: "JUMP_IF_NO_MATCH",
    122: "TRY", 143: "WITH", 87: "POP_BLOCK", 4: "CATCH", 1: "POP_TOP", 89: "POP_EXCEPT", 130: "RAISE", 119: "RERAISE", 144: "EXTENDED_ARG",
    115: "JUMP_OTHERWISE",
}  # fmt: skip
_NAMES_3_11 = {
    100: "LOAD_CONST", 101: "LOAD", 106: "LOAD_ATTR", 108: "IMPORT_NAME", 114: "JUMP_IF_FALSE", 116: "LOAD_GLOBAL", 36: "MATCH",
    35: "CATCH", 1: "POP_TOP", 89: "POP_EXCEPT", 130: "RAISE", 119: "RERAISE", 144: "EXTENDED_ARG",
    115: "JUMP_OTHERWISE", 128: "JUMP_OTHERWISE", 129: "JUMP_OTHERWISE",
}  # fmt: skip
_NAMES_3_13 = {
    83: "LOAD_CONST", 92: "LOAD", 82: "LOAD_ATTR", 75: "IMPORT_NAME", 97: "JUMP_IF_FALSE", 91: "LOAD_GLOBAL", 7: "MATCH", 33: "CATCH",
    32: "POP_TOP", 31: "POP_EXCEPT", 101: "RAISE", 102: "RERAISE", 71: "EXTENDED_ARG", 40: "TO_BOOL",
    98: "JUMP_OTHERWISE", 99: "JUMP_OTHERWISE", 100: "JUMP_OTHERWISE",
}  # fmt: skip
"""By number, the instructions that matter; LOAD_GLOBAL is one whose argument holds the number of a name twice over."""
_RESUME_3_11, _RESUME_3_13 = 151, 149
"""What the code of a module begins with: of Python 3.11 and 3.12, and of 3.13."""


def imports_of(module: Code) -> Iterator[CodeImport]:
    """Yield every import in a module's code; raises ValueError where the release of Python that made it is not known here."""
    names, cache = _dialect(module)
    waiting = [(module, True)]
    while waiting:
        code, at_import = waiting.pop()
        if _may_import(code, names):
            yield from _Imports(code, names, cache).found(at_import=at_import)
        waiting += [(each, at_import and not each.flags & OPTIMIZED) for each in code.nested()]


def needs_of(module: Code) -> dict[str, list[tuple[int, str, tuple[str, ...]]]]:
    """Return `(level, module, names)` of the unguarded imports in a module's code: those that run `first`, and those that come `later`."""
    found = [each for each in imports_of(module) if not each.guarded]
    rows = {(each.level, each.module, each.names, each.at_import) for each in found}
    return {key: sorted(row[:3] for row in rows if row[3] is first) for key, first in (("first", True), ("later", False))}


def _dialect(module: Code) -> tuple[Mapping[int, str], int]:
    """Return the names of the instructions that matter, by number, and the units that lie between a jump and what follows it."""
    if module.exceptions is None:
        return _NAMES_3_10, 0
    if module.code[:1] == bytes([_RESUME_3_11]):
        return _NAMES_3_11, 0
    if module.code[:1] == bytes([_RESUME_3_13]):
        return _NAMES_3_13, 1
    raise ValueError("its instructions are those of an unknown release of Python")


def _may_import(code: Code, names: Mapping[int, str]) -> bool:
    number = next(number for number, name in names.items() if name == "IMPORT_NAME")
    return number in code.code[::2]


class _Imports:
    def __init__(self, code: Code, names: Mapping[int, str], cache: int) -> None:
        self._code = code
        self._cache = cache
        self._instructions = list(_instructions(code.code, names))
        self._index = {each.at: index for index, each in enumerate(self._instructions)}

    def found(self, *, at_import: bool) -> Iterator[CodeImport]:
        spared = self._spared()
        for index, each in enumerate(self._instructions):
            if each.name != "IMPORT_NAME":
                continue
            level, names = (self._constant(index - back) for back in (2, 1))
            yield CodeImport(
                level=level if isinstance(level, int) else 0,
                module=str(self._code.names[each.argument]),
                names=tuple(map(str, names)) if isinstance(names, tuple) else (),
                at_import=at_import,
                guarded=any(start <= each.at < end for start, end in spared),
            )

    def _constant(self, index: int) -> object:
        each = self._instructions[index]
        return self._code.constants[each.argument] if index >= 0 and each.name == "LOAD_CONST" else None

    def _spared(self) -> list[tuple[int, int]]:
        """Return where instructions are that may fail, or that only type checkers see."""
        tries = _table(self._code.exceptions) if self._code.exceptions is not None else self._blocks()
        spared = [(start, end) for start, end, handler in tries if self._handles_failure(handler)]
        for index, each in enumerate(self._instructions):
            if each.name == "JUMP_IF_FALSE" and self._asks_for_type_checking(index):
                spared.append((each.end, self._target(each)))
        return spared

    def _asks_for_type_checking(self, index: int) -> bool:
        while True:
            index -= 1
            if self._name(index) == "TO_BOOL":
                index -= 1
            if (
                index < 0
                or self._name(index) not in ("LOAD", "LOAD_GLOBAL", "LOAD_ATTR")
                or self._loaded(self._instructions[index]) not in CHECKING
            ):
                return False
            index -= self._name(index) == "LOAD_ATTR"
            index -= 1
            if self._name(index) != "JUMP_OTHERWISE":  # another condition before `or`: it must be of these names too
                return True

    def _loaded(self, load: Instruction) -> str:
        following = self._instructions[self._index[load.at] + 1]
        method_bit = load.name == "LOAD_ATTR" and following.at - load.end > _CACHES_OF_3_11
        number = load.argument >> 1 if method_bit or load.name == "LOAD_GLOBAL" else load.argument
        return str(self._code.names[number]) if number < len(self._code.names) else ""

    def _handles_failure(self, handler: int) -> bool:
        """Say whether a handler goes on after a failed import: it names one of GUARDS, or all, and raises nothing itself."""
        index = self._index.get(handler)
        if index is None or self._instructions[index].name not in ("CATCH", "POP_TOP"):
            return False
        if self._instructions[index].name == "POP_TOP" or self._name(index + 1) == "POP_TOP":
            return self._goes_on(index + 1, None)
        while index is not None:
            match = self._next(index, ("MATCH", "JUMP_IF_NO_MATCH"))
            if match is None:
                return False
            jump = match if self._instructions[match].name == "JUMP_IF_NO_MATCH" else match + 1
            if self._names_loaded(index, match) & GUARDS:
                return self._goes_on(jump + 1, self._target(self._instructions[jump]))
            index = self._index.get(self._target(self._instructions[jump]))
        return False

    def _name(self, index: int) -> str:
        return self._instructions[index].name if 0 <= index < len(self._instructions) else ""

    def _next(self, index: int, names: tuple[str, ...]) -> int | None:
        for place in range(index, min(index + _LONGEST_CLAUSE, len(self._instructions))):
            if self._instructions[place].name in names:
                return place
            if self._instructions[place].name in ("RERAISE", "IMPORT_NAME"):
                return None
        return None

    def _names_loaded(self, start: int, end: int) -> set[str]:
        return {self._loaded(each) for each in self._instructions[start:end] if each.name in ("LOAD", "LOAD_GLOBAL")}

    def _goes_on(self, index: int, end: int | None) -> bool:
        """Say whether a handler is left in good order before anything is raised."""
        for each in self._instructions[index:]:
            if each.name in ("RAISE", "RERAISE") or (end is not None and each.at >= end):
                return False
            if each.name == "POP_EXCEPT":
                return True
        return False

    def _target(self, jump: Instruction) -> int:
        if self._code.exceptions is None:
            return jump.argument
        return jump.end + self._cache + jump.argument

    def _blocks(self) -> list[tuple[int, int, int]]:
        """Return the `try` blocks of Python 3.10: where each starts and ends, and where its handler is."""
        found, open_blocks = [], []
        for each in self._instructions:
            if each.name in ("TRY", "WITH"):
                open_blocks.append(each)
            elif each.name == "POP_BLOCK" and open_blocks:
                block = open_blocks.pop()
                if block.name == "TRY":
                    found.append((block.end, each.at, block.end + block.argument))
        return found


def _instructions(code: bytes, names: Mapping[int, str]) -> Iterator[Instruction]:
    start = argument = 0
    for at in range(0, len(code) - 1, 2):
        name = names.get(code[at], "")
        argument = argument << 8 | code[at + 1]
        if name == "EXTENDED_ARG":
            continue
        if code[at] or name:
            yield Instruction(start, at // 2 + 1, name, argument)
        start, argument = at // 2 + 1, 0


def _table(table: bytes) -> list[tuple[int, int, int]]:
    """Return the entries of an exception table: where each starts and ends, and where its handler is."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 0x3F
        if not byte & 0x40:
            numbers.append(value)
            value = 0
    rows = zip(numbers[0::4], numbers[1::4], numbers[2::4], strict=False)
    return [(start, start + length, handler) for start, length, handler in rows]
