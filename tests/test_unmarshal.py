from __future__ import annotations

import json
import marshal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.importtime import examine_needs
from hatch_mlbundle.unmarshal import RELEASE, Unmarshaller, unmarshaller
from tests.builders import file_of

LIBRARY = Path(json.__file__).parent.parent


def library_modules() -> list[bytes]:
    return [marshal.dumps(compile(path.read_bytes(), path.name, "exec")) for path in sorted(LIBRARY.glob("[a-d]*.py"))]


def test_both_readers_say_the_same_of_the_standard_library() -> None:
    files = [file_of(f"app.pyz/m{number}.pyc", code) for number, code in enumerate(library_modules())]
    with unmarshaller(RELEASE) as quick, ThreadPoolExecutor(4) as pool:
        assert quick is not None
        quickly = list(pool.map(lambda file: examine_needs(file, quick=quick), files))
    assert len(files) > 20
    assert json.dumps(quickly) == json.dumps([examine_needs(file) for file in files])


@pytest.mark.parametrize("data", [b"", b"noise", b"c" + bytes(200), marshal.dumps("text"), b"(" * 100000])
def test_what_is_no_code_gets_no_answer_and_harms_no_other(data: bytes) -> None:
    with unmarshaller(RELEASE) as quick:
        assert quick is not None
        assert quick.needs(data) is None
        assert quick.needs(marshal.dumps(compile("import a", "m", "exec")))["first"] == [[0, "a", []]]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sizes_that_are_only_told_take_no_memory() -> None:
    with unmarshaller(RELEASE) as quick:
        assert quick is not None
        assert quick.needs(b"(" * 100000) is None
        server = quick._idle.get_nowait()
        quick._idle.put(server)
        (peak,) = [line.split()[1] for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert int(peak) < 200_000  # in KiB


def test_a_server_that_was_killed_is_replaced() -> None:
    code = marshal.dumps(compile("import a", "m", "exec"))
    quick = Unmarshaller()
    try:
        assert quick.needs(code)
        server = quick._idle.get_nowait()
        server.kill()
        server.wait()
        quick._idle.put(server)
        assert quick.needs(code) is None
        assert quick.needs(code)
    finally:
        quick.close()


def test_code_of_another_release_is_not_for_it() -> None:
    with unmarshaller(RELEASE + 1) as other, unmarshaller(None) as unknown:
        assert (other, unknown) == (None, None)
    assert sys.version_info[0] * 100 + sys.version_info[1] == RELEASE
