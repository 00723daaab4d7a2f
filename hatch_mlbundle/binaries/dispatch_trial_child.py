"""Run by `dispatch_trial` as a process of its own: let a library choose among made-up kernels, and write which it took.

It imports the standard library only.
"""

import ctypes
import sys

_DEFAULT, _AVX2, _AVX512 = 16, 48, 32
_CASES = ((_DEFAULT, _AVX512, _AVX2), (_DEFAULT, None, _AVX2))
_CHOOSE = "_ZN2at6native16DispatchStubImpl15choose_cpu_implEPvS2_S2_"
_TRY = "_ZN2at6native16DispatchStubImpl19try_choose_cpu_implEPvS2_S2_"


class _Result(ctypes.Structure):
    """`std::variant<void*, ErrorType>` of libstdc++: the value, and which of the two it is."""

    _fields_ = (("value", ctypes.c_void_p), ("index", ctypes.c_ubyte))


def main() -> None:
    """Write what each function that chooses gives for each case: `16`, `48`, `32`, or `?`."""
    library = ctypes.CDLL(sys.argv[1])
    this = ctypes.create_string_buffer(256)
    names = [name for name in (_CHOOSE, _TRY) if hasattr(library, name)]
    for name in names:
        function = getattr(library, name)
        function.argtypes = [ctypes.c_void_p] * 4
        function.restype = _Result if name == _TRY else ctypes.c_void_p
        for case in _CASES:
            found = function(this, *case)
            value = found if isinstance(found, int) else found.value if not found.index else "?"
            sys.stdout.write(f"{value} ")


main()
