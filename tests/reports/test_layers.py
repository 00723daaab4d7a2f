from __future__ import annotations

from dataclasses import replace

from hatch_mlbundle.manifest import LayerRow
from hatch_mlbundle.reports.layers import layers_report
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text
from tests.reports.test_terminal import manifest


def row(size: int, created_by: str, hidden: int = 0) -> LayerRow:
    return LayerRow(
        digest=f"sha256:{'0' * 64}",
        created_by=created_by,
        size=size,
        files=1,
        installed=2 * size,
        compressed=size,
        hidden_installed=hidden,
        hidden_compressed=hidden,
    )


LAYERS = (
    row(1000, "/bin/sh -c #(nop) ADD file:abc in / "),
    row(30, "RUN /bin/sh -c rm x # buildkit", hidden=7),
    row(5000, "RUN pip install \x1b[31m[red]\n\u202e torch " * 500),
    row(20, ""),
)


def lines(top: int) -> list[str]:
    return as_text(analysis(replace(manifest(), layers=LAYERS), top=top)).splitlines()


def test_layers_stand_in_their_order_and_the_smallest_are_one_row() -> None:
    start = lines(2).index("layer  installed  hidden   stored  made by")
    rows = [line.split() for line in lines(2)[start + 1 : start + 5]]
    assert rows[0] == ["1", "2.00", "kB", "1.00", "kB", "ADD", "file:abc", "in", "/"]
    assert rows[1][:5] == ["3", "10.0", "kB", "5.00", "kB"]
    assert ["100", "B", "7", "B", "50", "B", "[2", "others]"] in rows


def test_an_instruction_is_cut_and_harmless() -> None:
    text = "\n".join(lines(10))
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert r"\x1b[31m[red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "..." in text


def test_other_artifacts_have_no_table_of_layers() -> None:
    assert layers_report(manifest(), top=5) == []
    assert "made by" not in as_text(analysis(manifest(), top=5))
