"""Read the pickle of a PyTorch file by a machine of our own, which knows few instructions and can run nothing.

Source: Lib/pickletools.py of CPython for the instructions; the ones known here are those of `torch.load(weights_only=True)`
(torch/_weights_only_unpickler.py). A name that the pickle asks for becomes an inert value or an error (torch_rebuild.py); nothing is
imported, called or given attributes, so that there is no way from a pickle's bytes to a running program.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from .torch_rebuild import FaultError, ForeignObjectError, find, is_dtype, make, make_storage
from .torch_values import Call, Name, Ordered, Parameter, Storage, Value

MOST_OPERATIONS = 5_000_000
"""Instructions of the longest pickle that is read: over 100,000 tensors. It bounds the memory that a hostile one can ask for."""
DEEPEST = 100
"""Levels of nesting that are read at most."""

_STOP = ord(".")
_LONGEST_NAME = 1000
_LONGEST_NUMBER = 9
"""Bytes of the longest integer: torch writes none beyond 64 bits."""


class _Machine:
    """The stack, the marks in it and the memo, while `data` is read from `position` on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Value] = []
        self.below: list[list[Value]] = []
        self.memo: dict[int, Value] = {}

    def take(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            raise FaultError("its pickle is cut short")
        return self.data[start : self.position]

    def unsigned(self, size: int) -> int:
        """Return the next number; raises IndexError, too, where there is none."""
        if size > 1:
            return int.from_bytes(self.take(size), "little")
        self.position += 1
        return self.data[self.position - 1]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + _LONGEST_NAME)
        if end < 0:
            raise FaultError("it has a name without an end")
        return self.take(end + 1 - self.position)[:-1].decode("utf-8")

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop_to_mark(self) -> list[Value]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def push_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise FaultError("its pickle is damaged")
        self.stack[-size:] = [tuple(self.stack[-size:])]


def read_pickle(data: bytes) -> Value:
    """Return what a PyTorch file's `data.pkl` holds, as inert values (torch_values.py); nothing of it is run.

    Raises ForeignObjectError where it holds anything but tensors and plain values, FaultError where it is no sound pickle.
    """
    machine = _Machine(data)
    try:
        _run(machine)
    except (IndexError, KeyError, UnicodeDecodeError):
        cut = machine.position > len(data)
        raise FaultError("its pickle is cut short" if cut else "its pickle is damaged") from None
    if machine.below or len(machine.stack) != 1 or machine.position != len(data):
        raise FaultError("its pickle does not end where it should")
    (value,) = machine.stack
    _check(value, set(), set(), 0)
    return value


def _run(machine: _Machine) -> None:
    for _ in range(MOST_OPERATIONS):
        code = machine.unsigned(1)
        if code == _STOP:
            return
        operation = _BY_CODE.get(code)
        if operation is None:
            raise ForeignObjectError(f"is pickled by an instruction that torch.load(weights_only=True) refuses, too: {bytes([code])!r}")
        operation(machine)
    raise FaultError(f"its pickle has more than {MOST_OPERATIONS} instructions")


def _check(value: Value, done: set[int], above: set[int], depth: int) -> None:
    """Refuse what is in itself, nested too deeply, or no value that may stand in a file by itself."""
    if value is None or isinstance(value, (str, int, float)) or (isinstance(value, Name) and is_dtype(value)):
        return
    if isinstance(value, (Name, Storage)):
        raise ForeignObjectError("holds other objects than tensors and plain values: a bare class or storage")
    if id(value) in above or depth > DEEPEST:
        raise FaultError(f"its values are nested more than {DEEPEST} deep, or hold themselves")
    if id(value) in done:
        return
    above.add(id(value))
    for each in children(value):
        _check(each, done, above, depth + 1)
    above.discard(id(value))
    done.add(id(value))


def children(value: Value) -> list[Value]:
    """Return the values that a value holds, in their order: keys and values of a mapping, the attributes of an object."""
    if isinstance(value, dict):
        inside = [each for pair in value.items() for each in pair]
        return [*inside, value.attributes] if isinstance(value, Ordered) and value.attributes is not None else inside
    if isinstance(value, Call):
        return list(value.arguments)
    if isinstance(value, Parameter):
        return [value.tensor, value.state]
    return list(value) if isinstance(value, (list, tuple)) else []


def _put(machine: _Machine, size: int) -> None:
    machine.memo[machine.unsigned(size)] = machine.stack[-1]


def _text(machine: _Machine) -> str:
    return machine.take(machine.unsigned(4)).decode("utf-8", "surrogatepass")


def _number(machine: _Machine) -> int:
    size = machine.unsigned(1)
    if size > _LONGEST_NUMBER:
        raise FaultError(f"it holds a number of {size} bytes")
    return int.from_bytes(machine.take(size), "little", signed=True)


def _protocol(machine: _Machine) -> None:
    protocol = machine.unsigned(1)
    if protocol != 2:
        raise ForeignObjectError(f"is pickled by protocol {protocol}, not torch.save's own 2; save it again without `pickle_protocol`")


def _global(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.stack.append(find(module, name))


def _reduce(machine: _Machine) -> None:
    arguments = machine.stack.pop()
    machine.stack[-1] = make(machine.stack[-1], arguments)


def _build(machine: _Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if not isinstance(target, Ordered):
        raise ForeignObjectError("gives attributes to something else than an OrderedDict")
    if type(state) is not dict or target.attributes is not None or target.sealed or not all(isinstance(key, str) for key in state):
        raise FaultError("an OrderedDict has attributes that cannot be")
    target.attributes = state


def _append(machine: _Machine, items: list[Value]) -> None:
    if type(machine.stack[-1]) is not list:
        raise FaultError("it appends to something that is no list")
    machine.stack[-1].extend(items)


def _set_items(machine: _Machine, items: list[Value]) -> None:
    target = machine.stack[-1]
    if type(target) not in (dict, Ordered) or len(items) % 2 or (isinstance(target, Ordered) and target.sealed):
        raise FaultError("it fills something that is no dict, or with half a pair")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (key is None or isinstance(key, (str, int))):  # numbers beyond 64 bits or tuples could be made to collide
            raise ForeignObjectError("holds a dict whose keys are neither strings nor whole numbers")
        target[key] = value


def _pair(machine: _Machine) -> list[Value]:
    value = machine.stack.pop()
    return [machine.stack.pop(), value]


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


_OPERATIONS: Mapping[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"(": _mark,
    b"c": _global,
    b"R": _reduce,
    b"b": _build,
    b"Q": lambda machine: machine.push(make_storage(machine.stack.pop())),
    b"q": lambda machine: _put(machine, 1),
    b"r": lambda machine: _put(machine, 4),
    b"h": lambda machine: machine.push(machine.memo[machine.unsigned(1)]),
    b"j": lambda machine: machine.push(machine.memo[machine.unsigned(4)]),
    b"t": lambda machine: machine.push(tuple(machine.pop_to_mark())),
    b"\x85": lambda machine: machine.push_tuple(1),
    b"\x86": lambda machine: machine.push_tuple(2),
    b"\x87": lambda machine: machine.push_tuple(3),
    b")": lambda machine: machine.push(()),
    b"]": lambda machine: machine.push([]),
    b"}": lambda machine: machine.push({}),
    b"a": lambda machine: _append(machine, [machine.stack.pop()]),
    b"e": lambda machine: _append(machine, machine.pop_to_mark()),
    b"s": lambda machine: _set_items(machine, _pair(machine)),
    b"u": lambda machine: _set_items(machine, machine.pop_to_mark()),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),  # noqa: FBT003
    b"\x89": lambda machine: machine.push(False),  # noqa: FBT003
    b"K": lambda machine: machine.push(machine.unsigned(1)),
    b"M": lambda machine: machine.push(machine.unsigned(2)),
    b"J": lambda machine: machine.push(int.from_bytes(machine.take(4), "little", signed=True)),
    b"G": lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    b"X": lambda machine: machine.push(_text(machine)),
    b"\x8a": lambda machine: machine.push(_number(machine)),
}
"""What each instruction does, by its byte; the loop sees to a STOP."""
_BY_CODE = {code[0]: operation for code, operation in _OPERATIONS.items()}
