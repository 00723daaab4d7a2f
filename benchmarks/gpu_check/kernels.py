"""Run in a process of its own: every case of our kernels' library, one line of JSON for each.

python kernels.py LIBRARY
"""

from __future__ import annotations

import ctypes
import json
import sys


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    library.case_name.restype = library.error_text.restype = ctypes.c_char_p
    library.case_run.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_ulonglong)]
    for number in range(library.case_count()):
        digest = ctypes.c_ulonglong()
        error = library.case_run(number, ctypes.byref(digest))
        result = {"digest": f"{digest.value:016x}"} if not error else {"error": library.error_text(error).decode()}
        print(json.dumps({"name": library.case_name(number).decode(), **result}), flush=True)


if __name__ == "__main__":
    main()
