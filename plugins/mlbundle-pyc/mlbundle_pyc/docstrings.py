"""Docstrings in bytecode of this very Python: where they are, what reads them, and the same code without them.

The docstring of a function is its first constant; up to Python 3.13 wherever that is a string, from 3.14 on where a flag says so
(Include/cpython/code.h, `CO_HAS_DOCSTRING`). Modules and classes store theirs first of all, under the name `__doc__`.
"""

from __future__ import annotations

import opcode
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hatch_mlbundle.modulesets.docstrings import DOCSTRING, READING_CALLS, READING_MODULES, is_read_by

from .marshal_tree import NONE, CodeNode, Leaf, Node

_OPTIMIZED = 0x1
_HAS_DOCSTRING = 0x4000000
_EXTENDED = opcode.opmap["EXTENDED_ARG"]
_LOAD_CONST, _STORE_NAME, _STORE_ATTR = (opcode.opmap[name] for name in ("LOAD_CONST", "STORE_NAME", "STORE_ATTR"))
_CONSTANTS, _NAMES = frozenset(opcode.hasconst), frozenset(opcode.hasname)
_CACHE = opcode.opmap.get("CACHE", -1)
_SHIFTS = {
    opcode.opmap.get(name, -1): shift
    for name, shift, since in (("LOAD_GLOBAL", 1, (3, 11)), ("LOAD_ATTR", 1, (3, 12)), ("LOAD_SUPER_ATTR", 2, (3, 12)))
    if sys.version_info >= since
}
"""How many low bits of an argument are no part of the number of a name."""
_STORES = frozenset({_STORE_NAME, _STORE_ATTR, opcode.opmap["STORE_GLOBAL"]})
_PROLOGUE = frozenset({"__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__type_params__", "__classdictcell__"})
"""What class bodies store before their docstring."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, and the number it is about; caches between them are passed over."""

    code: int
    argument: int


def instructions_of(code: CodeNode) -> Iterator[Instruction]:
    """Yield the instructions of a code object."""
    data, argument = code.instructions, 0
    for at in range(0, len(data) - 1, 2):
        argument = argument << 8 | data[at + 1]
        if data[at] == _EXTENDED:
            continue
        if data[at] != _CACHE:
            yield Instruction(data[at], argument)
        argument = 0


def all_code(code: CodeNode) -> Iterator[CodeNode]:
    """Yield a code object and all in it."""
    waiting = [code]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += each.nested()


def docstring_place(code: CodeNode) -> int | None:
    """Return which of its constants is a docstring and nothing else, None where none is."""
    place = _of_function(code) if code.flags & _OPTIMIZED else _of_body(code)
    if place is None or place >= len(code.constants):
        return None
    constant = code.constants[place]
    used = sum(each.code in _CONSTANTS and each.argument == place for each in instructions_of(code))
    is_text = isinstance(constant, Leaf) and isinstance(constant.value, str)
    return place if is_text and used == (0 if code.flags & _OPTIMIZED else 1) else None


def without_docstrings(code: CodeNode, kept: Collection[str]) -> CodeNode:
    """Return the code in which None stands for each docstring, but for those of definitions called as one of `kept`."""
    constants: list[Node] = [without_docstrings(each, kept) if isinstance(each, CodeNode) else each for each in code.constants]
    place = None if code.name in kept else docstring_place(code)
    if place is None:
        return code.with_constants(tuple(constants))
    constants[place] = NONE
    return code.with_constants(tuple(constants), code.flags & ~_HAS_DOCSTRING)


def docstring_size(code: CodeNode, kept: Collection[str]) -> int:
    """Return the bytes of the docstrings that `without_docstrings` would leave out."""
    size = 0
    for each in all_code(code):
        place = None if each.name in kept else docstring_place(each)
        leaf = each.constants[place] if place is not None else NONE
        size += len(leaf.text) if isinstance(leaf, Leaf) and place is not None else 0
    return size


def reads_docstrings(code: CodeNode) -> bool:
    """Say whether a code object, apart from those in it, reads docstrings of anything; to copy one to another place reads nothing."""
    texts = (each.value for place, each in enumerate(code.constants) if isinstance(each, Leaf) and place != docstring_place(code))
    if any(isinstance(text, str) and is_read_by(text) for text in texts) or READING_CALLS.intersection(code.names):
        return True
    named = [(each.code, _name(code, each)) for each in instructions_of(code) if each.code in _NAMES or each.code == _LOAD_CONST]
    if any(opcode.opname[number] == "IMPORT_NAME" and name.partition(".")[0] in READING_MODULES for number, name in named):
        return True
    loads = [at for at, (number, name) in enumerate(named) if name == DOCSTRING and number not in _STORES and number != _LOAD_CONST]
    return any(not any(number in _STORES and name == DOCSTRING for number, name in named[at + 1 : at + 3]) for at in loads)


def imports_of(code: CodeNode) -> set[str]:
    """Return the top-level packages that code imports; its own, written with dots, are left out."""
    found = set()
    for each in all_code(code):
        for instruction in instructions_of(each):
            if opcode.opname[instruction.code] == "IMPORT_NAME" and (name := _name(each, instruction)):
                found.add(name.partition(".")[0])
    return found


_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def names_in(code: CodeNode) -> set[str]:
    """Return every name in code that may stand for a definition, also those that are only strings."""
    found: set[str] = set()
    for each in all_code(code):
        found.update(each.names)
        found.update(
            leaf.value
            for leaf in each.constants
            if isinstance(leaf, Leaf) and isinstance(leaf.value, str) and _IDENTIFIER.fullmatch(leaf.value)
        )
    return found


def _of_function(code: CodeNode) -> int | None:
    """Return 0 where a function's first constant is its docstring: `<lambda>` and `<listcomp>` have none."""
    if code.name.startswith("<"):
        return None
    has = bool(code.flags & _HAS_DOCSTRING) if sys.version_info >= (3, 14) else bool(code.constants)
    return 0 if has else None


def _of_body(code: CodeNode) -> int | None:
    """Return the constant that a module or class body stores as its docstring before it does anything else."""
    former: Instruction | None = None
    for each in instructions_of(code):
        if each.code in _STORES:
            name = _name(code, each)
            if name == DOCSTRING and each.code == _STORE_NAME and former and former.code == _LOAD_CONST:
                return former.argument
            if name not in _PROLOGUE:
                return None
        former = each
    return None


def _name(code: CodeNode, instruction: Instruction) -> str:
    if instruction.code not in _NAMES:
        return ""
    number = instruction.argument >> _SHIFTS.get(instruction.code, 0)
    return code.names[number] if number < len(code.names) else ""
