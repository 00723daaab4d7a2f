from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from hatch_mlbundle.compare import compare
from hatch_mlbundle.manifest import FileState, Manifest
from hatch_mlbundle.reports.comparison import comparison_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text
from tests.manifests import manifest_of

BEFORE: Mapping[str, bytes] = {
    "demo/__init__.py": b"",
    "demo/data/weights.bin": b"w" * 4_000,
    "demo/moves.py": b"m" * 700,
    "demo/core.so": b"c" * 30_000,
    "demo/same.py": b"s" * 100,
    "demo-1.0.dist-info/METADATA": b"1" * 500,
    "old/tests.py": b"t" * 2_500,
}
AFTER: Mapping[str, bytes] = {
    "demo/__init__.py": b"",
    "demo/data/weights.bin": b"W" * 4_000,
    "demo/sub/moves.py": b"m" * 700,
    "demo/core.so": b"c" * 31_000,
    "demo/same.py": b"s" * 100,
    "demo-1.1.dist-info/METADATA": b"1" * 510,
    "demo-1.1.dist-info/licenses/LICENSE": b"l" * 1_200,
    "new/model.onnx": b"x" * 12_345_678,
}

WHEELS = """\
+12.3 MB installed (x328), +6.17 MB compressed (x326)
from demo-1.0-py3-none-any.whl
     wheel, 7 files, 37.8 kB installed, 19.0 kB compressed
to   demo-1.1-py3-none-any.whl
     wheel, 8 files, 12.4 MB installed, 6.19 MB compressed
files: 2 added, 1 removed, 2 changed, 2 moved, 2 unchanged

release  from  to
demo     1.0   1.1

  change               to  compressed            package
+12.3 MB     new  12.3 MB    +6.17 MB       new  new
-2.50 kB    gone      0 B    -1.25 kB      gone  old
+2.21 kB  +6.3 %  37.5 kB    +1.11 kB    +6.3 %  demo
                               +100 B  +100.0 %  zip headers
+12.3 MB    x328  12.4 MB    +6.17 MB      x326  total

  change                to  compressed            kind
+12.3 MB      new  12.3 MB    +6.17 MB       new  onnx
-2.50 kB  -75.8 %    800 B    -1.25 kB   -75.6 %  py
+1.20 kB      new  1.20 kB      +601 B       new  dist-info/licenses/LICENSE
+1.00 kB   +3.3 %  31.0 kB      +500 B    +3.3 %  elf
   +10 B   +2.0 %    510 B        +5 B    +2.0 %  dist-info/METADATA
                   4.00 kB                        [1 unchanged]
                                +100 B  +100.0 %  zip headers
+12.3 MB     x328  12.4 MB    +6.17 MB      x326  total

  change  compressed     file: + added, - removed, ~ changed, > moved
+12.3 MB    +6.17 MB  +  new/model.onnx
-2.50 kB    -1.25 kB  -  old/tests.py
+1.20 kB      +601 B  +  demo-1.1.dist-info/licenses/LICENSE
+1.00 kB      +500 B  ~  demo/core.so
   +10 B        +5 B  >  demo-1.1.dist-info/METADATA
                         from demo-1.0.dist-info/METADATA
                      ~  demo/data/weights.bin
                      >  [1 of the same size]
              +100 B     zip headers
+12.3 MB    +6.17 MB     total"""


def wheels() -> tuple[Manifest, Manifest]:
    before = manifest_of(BEFORE, name="demo-1.0-py3-none-any.whl", kind="wheel", structure=100, packs=True)
    after = manifest_of(AFTER, name="demo-1.1-py3-none-any.whl", kind="wheel", structure=200, packs=True)
    return before, after


def report(before: Manifest, after: Manifest, top: int = 10) -> str:
    text = as_text(comparison_report(compare(before, after), top=top))
    assert max(map(len, text.splitlines())) <= WIDTH
    return text


def block(text: str, header: str) -> list[str]:
    """Return the rows of the table whose last column has this header."""
    return next(lines[1:] for part in text.split("\n\n") if (lines := part.splitlines())[0].endswith(header))


def test_the_whole_report() -> None:
    assert report(*wheels()) == WHEELS


def test_what_the_top_leaves_out_is_one_row() -> None:
    text = report(*wheels(), top=1)
    assert [" ".join(row.split()) for row in block(text, "package")] == [
        "+12.3 MB new 12.3 MB +6.17 MB new new",
        "-290 B -0.8 % 37.5 kB -145 B -0.8 % [2 others]",
        "+100 B +100.0 % zip headers",
        "+12.3 MB x328 12.4 MB +6.17 MB x326 total",
    ]
    assert [" ".join(row.split()) for row in block(text, "moved")] == [
        "+12.3 MB +6.17 MB + new/model.onnx",
        "-290 B -145 B [5 others]",
        "> [1 of the same size]",
        "+100 B zip headers",
        "+12.3 MB +6.17 MB total",
    ]


def column(text: str, header: str, name: str) -> list[int]:
    """Return the bytes in a column of the table whose last column has this header, 0 where there is nothing."""
    (top,) = (line for line in text.splitlines() if line.endswith(header))
    end = top.index(name) + len(name)
    found = [re.search(r"([+-]?\d+) B$", row[:end]) for row in block(text, header)]
    return [int(match[1]) if match else 0 for match in found]


@pytest.mark.parametrize("top", [1, 2, 3, 50])
@pytest.mark.parametrize("packs", [True, False])
def test_the_rows_add_up_to_the_total(top: int, packs: bool) -> None:
    before = {f"p{number}/{name}": b"1" * number for number in range(9) for name in "abc"}
    after = {f"p{number}/{name}": b"2" * (number * number) for number in range(2, 8) for name in "bcd"} | {"q/x": b"1" * 5}
    sides = [manifest_of(files, packs=packs, structure=structure * packs) for files, structure in ((before, 5), (after, 9))]
    comparison, text = compare(*sides), report(*sides, top=top)
    for header in ("package", "kind", "moved"):
        *rows, total = column(text, header, "change")
        assert sum(rows) == total == comparison.growth != 0
        if packs:
            *rows, total = column(text, header, "compressed")
            assert sum(rows) == total == comparison.compressed_growth != 0


def test_no_difference_is_one_verdict_and_the_two_names() -> None:
    before, _ = wheels()
    folder = manifest_of(BEFORE, name="unpacked")
    assert report(before, folder).splitlines() == [
        "no difference",
        "from demo-1.0-py3-none-any.whl",
        "     wheel, 7 files, 37.8 kB installed, 19.0 kB compressed",
        "to   unpacked",
        "     folder, 7 files, 37.8 kB installed",
    ]


def test_a_wheel_that_is_only_compressed_otherwise() -> None:
    before, _ = wheels()
    states = {row.path: replace(row.after, compressed=(row.after.compressed or 0) // 2) for row in before.files if row.after}
    after = manifest_of(states, name="demo-1.0-py3-none-any.whl", kind="wheel", structure=100, packs=True)
    text = report(before, after)
    assert text.startswith("0 B installed (0.0 %), -9.46 kB compressed (-49.8 %)\n")
    assert "[7 unchanged, but compressed otherwise]" in text
    assert "files:" not in text


def test_without_hashes_that_is_said() -> None:
    text = report(manifest_of(BEFORE, hashed=False), manifest_of(AFTER))
    assert "no hashes: a file of the same path and size counts as unchanged" in text.splitlines()


def test_from_and_to_nothing() -> None:
    nothing = manifest_of({}, name="nothing")
    assert "+37.8 kB installed (new)" in report(nothing, manifest_of(BEFORE))
    assert "-37.8 kB installed (-100.0 %)" in report(manifest_of(BEFORE), nothing)
    assert report(nothing, nothing).startswith("no difference\n")


HOSTILE = [
    "new\nline",
    "<script>alert(1)</script>",
    "a|b`c`",
    "\x1b[31mred",
    "\u202egnp.exe",
    "\udcff",
    "x" * 300,
    "[bold]x[/]",
    "[/nothing]",
]


def test_hostile_names_are_text_on_their_own_lines() -> None:
    before = manifest_of({f"{name}/x": b"1" for name in HOSTILE} | {f"{name}-1.dist-info/M": b"1" for name in HOSTILE}, name="a\x1b[2J\n")
    after = manifest_of({f"moved/{name}/x": b"22" for name in HOSTILE}, name="\u202eb")
    text = report(before, after, top=99)
    text.encode()
    assert not set(text) & {"\x1b", "\u202e", "\udcff", "\r"}
    lines = [line.rsplit("  ", 1)[-1].strip() for line in text.splitlines()]
    for name in ("new\\nline/x", "<script>alert(1)</script>/x", "\\x1b[31mred/x", "\\u202egnp.exe/x", "\\udcff/x", "[bold]x[/]/x"):
        assert name in lines
    assert "from a\\x1b[2J\\n" in text.splitlines()


def test_twenty_thousand_files_are_told_on_one_page() -> None:
    states = {f"p{number % 50}/{number}.py": FileState(size=number, compressed=None, sha256=f"{number}") for number in range(20_000)}
    others = {path: replace(state, size=state.size + 1, sha256=f"{state.sha256}x") for path, state in states.items()}
    assert len(report(manifest_of(states), manifest_of(others)).splitlines()) < 60


def test_colours_only_repeat_the_signs() -> None:
    sink = io.StringIO()
    Console(file=sink, width=WIDTH, force_terminal=True, color_system="standard").print(comparison_report(compare(*wheels()), top=10))
    coloured = sink.getvalue()
    assert re.search(r"\x1b\[31m\+12\.3 MB", coloured)
    assert re.search(r"\x1b\[32m-2\.50 kB", coloured)
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()]
    assert plain == WHEELS.splitlines()
