"""Read marshalled code as a tree, and write the one text of a tree: the same bytes for equal code, whoever made it, and fewer of them.

CPython writes a reference where two constants are the same object, which differs from run to run, and marks strings as interned that
happen to be (bpo-34093). Here, what is equal is written once, and strings are interned that look like names, as the compiler does it
(Objects/codeobject.c, `intern_string_constants`). Only code of the running Python is read. Nothing is unmarshalled: hostile data is
refused, not believed.

Format: Python/marshal.c, version 4; the fields of code objects as of Python 3.10, and of 3.11 and later.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

_MAX_DEPTH = 200
_REFERENCED = 0x80
_LENGTH = struct.Struct("<I")
_LEAVES = frozenset(b"NTFS.")
_FIXED = {ord("i"): 4, ord("I"): 8, ord("g"): 8, ord("y"): 16}
_ASCII_SHORT, _ASCII_LONG, _UNICODE = frozenset(b"zZ"), frozenset(b"aA"), frozenset(b"tu")
_TUPLE_SHORT, _TUPLE, _LIST, _SET, _FROZENSET = ord(")"), ord("("), ord("["), ord("<"), ord(">")
_SLICE, _CODE, _BYTES, _LONG, _REF = ord(":"), ord("c"), ord("s"), ord("l"), ord("r")
IS_NEW = sys.version_info >= (3, 11)
"""Whether code has the fields of Python 3.11 and later."""
_FEWEST = 6
"""Bytes below which a value is no longer than a reference to it."""
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without parts, as it is written; `value` is that of a string or of bytes."""

    text: bytes
    value: str | bytes | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A tuple, list, set, frozenset or slice: its mark, and its parts."""

    kind: int
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class CodeNode:
    """A code object: its numbers, of which the last is the flags, and its fields in order, between which stands the first line."""

    numbers: bytes
    before: tuple[Node, ...]
    line: bytes
    after: tuple[Node, ...]

    @property
    def flags(self) -> int:
        """The flags, `co_flags`."""
        value: int = _LENGTH.unpack(self.numbers[-4:])[0]
        return value

    @property
    def instructions(self) -> bytes:
        """The bytecode, `co_code`."""
        return _bytes(self.before[0])

    @property
    def constants(self) -> tuple[Node, ...]:
        """The constants, `co_consts`."""
        return _parts(self.before[1])

    @property
    def names(self) -> tuple[str, ...]:
        """The names, `co_names`."""
        return tuple(_string(each) for each in _parts(self.before[2]))

    @property
    def name(self) -> str:
        """The name, `co_name`."""
        return _string(self.before[6 if IS_NEW else 7])

    def nested(self) -> Iterator[CodeNode]:
        """Yield the code objects among its constants."""
        return (each for each in self.constants if isinstance(each, CodeNode))

    def with_constants(self, constants: tuple[Node, ...], flags: int | None = None) -> CodeNode:
        """Return the same code with other constants, and other flags where they are given."""
        group = _parts_as(self.before[1], constants)
        numbers = self.numbers if flags is None else self.numbers[:-4] + _LENGTH.pack(flags)
        return replace(self, numbers=numbers, before=(self.before[0], group, *self.before[2:]))

    def with_file_name(self, name: str) -> CodeNode:
        """Return the same code, and all in it, with another `co_filename`."""
        at = 5 if IS_NEW else 6
        constants = tuple(each.with_file_name(name) if isinstance(each, CodeNode) else each for each in self.constants)
        changed = self.with_constants(constants)
        return replace(changed, before=(*changed.before[:at], text(name), *changed.before[at + 1 :]))


Node: TypeAlias = "Leaf | Group | CodeNode"

NONE = Leaf(b"N")


def text(value: str) -> Leaf:
    """Return a string as it is always written here."""
    interned = bool(value) and _NAME.issuperset(value)
    try:
        raw = value.encode("ascii")
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogatepass")
        return Leaf(b"u" + _LENGTH.pack(len(raw)) + raw, value)
    if len(raw) < 256:
        return Leaf((b"Z" if interned else b"z") + bytes([len(raw)]) + raw, value)
    return Leaf((b"A" if interned else b"a") + _LENGTH.pack(len(raw)) + raw, value)


def read_tree(data: bytes) -> CodeNode:
    """Return the code object that marshalled data holds, and nothing else; raises ValueError for anything else."""
    reader = _Reader(data)
    try:
        node = reader.node(0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"damaged code: {error}") from error
    if not isinstance(node, CodeNode):
        raise ValueError("holds no code")
    if reader.at != len(data):
        raise ValueError("damaged code: something stands behind it")
    return node


def write_tree(node: Node) -> bytes:
    """Return the one marshal text of a tree, version 4."""
    writer = _Writer()
    writer.count(node)
    writer.write(node)
    return b"".join(writer.pieces)


class _Reader:
    """Goes through the bytes once; what is marked as referenced is numbered before what it holds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._seen: list[Node | None] = []
        self.at = 0

    def node(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise ValueError("damaged code: too deep")
        (mark,) = self._take(1)
        kind = mark & ~_REFERENCED
        if kind == _REF:
            return self._referred()
        place = len(self._seen)
        if mark & _REFERENCED:
            self._seen.append(None)
        made = self._made(kind, depth)
        if mark & _REFERENCED:
            self._seen[place] = made
        return made

    def _made(self, kind: int, depth: int) -> Node:
        if kind in _ASCII_SHORT:
            return text(self._take(self._take(1)[0]).decode("latin-1"))
        if kind in _ASCII_LONG:
            return text(self._take(self._length()).decode("ascii"))
        if kind in _UNICODE:
            return text(self._take(self._length()).decode("utf-8", "surrogatepass"))
        if kind == _TUPLE_SHORT:
            return Group(_TUPLE, self._nodes(self._take(1)[0], depth))
        if kind in (_TUPLE, _LIST, _SET, _FROZENSET):
            return Group(kind, self._nodes(self._length(), depth))
        if kind == _CODE:
            return self._code(depth)
        if kind == _SLICE:
            return Group(kind, self._nodes(3, depth))
        return self._leaf(kind)

    def _leaf(self, kind: int) -> Leaf:
        mark = bytes([kind])
        if kind in _LEAVES:
            return Leaf(mark)
        if kind in _FIXED:
            return Leaf(mark + self._take(_FIXED[kind]))
        if kind == _BYTES:
            raw = self._take(self._length())
            return Leaf(mark + _LENGTH.pack(len(raw)) + raw, raw)
        if kind == _LONG:
            size = self._take(4)
            return Leaf(mark + size + self._take(2 * abs(struct.unpack("<i", size)[0])))
        raise ValueError(f"damaged code: holds {chr(kind)!a}, which no code does")

    def _code(self, depth: int) -> CodeNode:
        numbers = self._take(20 if IS_NEW else 24)
        before = self._nodes(8, depth)
        line = self._take(4)
        code = CodeNode(numbers, before, line, self._nodes(2 if IS_NEW else 1, depth))
        _check(code)
        return code

    def _nodes(self, count: int, depth: int) -> tuple[Node, ...]:
        if count > len(self._data) - self.at:
            raise ValueError("damaged code: promises more than there is")
        return tuple([self.node(depth + 1) for _ in range(count)])

    def _referred(self) -> Node:
        node = self._seen[self._length()]
        if node is None:
            raise ValueError("damaged code: holds itself")
        return node

    def _length(self) -> int:
        length: int = _LENGTH.unpack(self._take(4))[0]
        return length

    def _take(self, size: int) -> bytes:
        piece = self._data[self.at : self.at + size]
        if len(piece) < size:
            raise ValueError("damaged code: ends too early")
        self.at += size
        return piece


def _check(code: CodeNode) -> None:
    """Raise ValueError where fields are of other types than a code object has."""
    tuples = (1, 2, 3) if IS_NEW else (1, 2, 3, 4, 5)
    strings = (5, 6, 7) if IS_NEW else (6, 7)
    blobs = [code.before[0], *code.after, *([code.before[4]] if IS_NEW else [])]
    for at in tuples:
        _parts(code.before[at])
    for at in strings:
        _string(code.before[at])
    for each in blobs:
        _bytes(each)
    _ = code.names


@dataclass(slots=True)
class _Writer:
    """Writes a tree after counting what of it is there more than once."""

    pieces: list[bytes] = field(default_factory=list)
    _counts: Counter[Node] = field(default_factory=Counter)
    _places: dict[Node, int] = field(default_factory=dict)

    def count(self, node: Node) -> None:
        if isinstance(node, CodeNode):
            for each in (*node.before[1:], *node.after):
                self.count(each)
        elif _is_worth(node):
            self._counts[node] += 1
            if self._counts[node] == 1 and isinstance(node, Group):
                for each in node.parts:
                    self.count(each)

    def write(self, node: Node) -> None:
        if isinstance(node, CodeNode):
            self._write_code(node)
        elif node in self._places:
            self.pieces.append(b"r" + _LENGTH.pack(self._places[node]))
        else:
            mark = _REFERENCED if self._counts[node] > 1 else 0
            if mark:
                self._places[node] = len(self._places)
            if isinstance(node, Leaf):
                self.pieces.append(bytes([node.text[0] | mark]) + node.text[1:])
            else:
                self._write_group(node, mark)

    def _write_group(self, node: Group, mark: int) -> None:
        short = node.kind == _TUPLE and len(node.parts) < 256
        head = bytes([_TUPLE_SHORT | mark, len(node.parts)]) if short else bytes([node.kind | mark]) + _LENGTH.pack(len(node.parts))
        self.pieces.append(bytes([_SLICE | mark]) if node.kind == _SLICE else head)
        parts = sorted(node.parts, key=write_tree) if node.kind in (_SET, _FROZENSET) else node.parts
        for each in parts:
            self.write(each)

    def _write_code(self, node: CodeNode) -> None:
        instructions = node.before[0]
        assert isinstance(instructions, Leaf)  # noqa: S101 - the reader saw to it
        self.pieces.append(bytes([_CODE]) + node.numbers + instructions.text)  # never a reference: readers tell releases apart by it
        for each in node.before[1:]:
            self.write(each)
        self.pieces.append(node.line)
        for each in node.after:
            self.write(each)


def _is_worth(node: Leaf | Group) -> bool:
    return bool(node.parts) if isinstance(node, Group) else len(node.text) >= _FEWEST


def _parts(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Group) or node.kind != _TUPLE:
        raise ValueError("damaged code: its parts are of other types")
    return node.parts


def _parts_as(node: Node, parts: tuple[Node, ...]) -> Group:
    assert isinstance(node, Group)  # noqa: S101 - the reader saw to it
    return replace(node, parts=parts)


def _string(node: Node) -> str:
    if not isinstance(node, Leaf) or not isinstance(node.value, str):
        raise ValueError("damaged code: its parts are of other types")
    return node.value


def _bytes(node: Node) -> bytes:
    if not isinstance(node, Leaf) or not isinstance(node.value, bytes):
        raise ValueError("damaged code: its parts are of other types")
    return node.value
