from __future__ import annotations

from dataclasses import replace

from hatch_mlbundle.compare import compare
from hatch_mlbundle.manifest import LayerRow
from hatch_mlbundle.reports.layers import layers_report
from hatch_mlbundle.reports.markdown import analysis_markdown, comparison_markdown
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text
from tests.manifests import manifest_of
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


def test_markdown_folds_the_layers_with_all_others_and_their_total() -> None:
    text = analysis_markdown(replace(manifest(), layers=LAYERS), top=2)
    start = text.index("<details><summary>Layers: 4</summary>")
    rows = text[start : text.index("</details>", start)].splitlines()[4:-1]
    assert rows[0] == "| `ADD file:abc in /` | 1 | 2.00 kB | 0 B | 1.00 kB |"
    assert rows[1].startswith(r"| `RUN pip install \x1b[31m[red] \u202e torch ")
    assert rows[2:] == [
        "| [2 others] |  | 100 B | 7 B | 50 B |",
        "| **total** |  | **12.1 kB** | **7 B** | **6.05 kB** |",
    ]
    assert "Layers" not in analysis_markdown(manifest(), top=2)


def test_the_bytes_of_no_file_are_called_what_they_are() -> None:
    wheel, frozen, image = (manifest_of({"a": b"1"}, kind=kind, packs=True, structure=9) for kind in ("wheel", "frozen", "image"))
    for each, label in ((wheel, "zip headers"), (frozen, "archive headers"), (image, "hidden files, headers of layers")):
        assert f"| ({label}) |" in analysis_markdown(each, top=5)
        assert label in as_text(analysis(each, top=5))
    other = manifest_of({"a": b"12"}, kind="image", packs=True, structure=90)
    assert "| (hidden files, headers of layers) |" in comparison_markdown(compare(image, other), top=5)
    assert "| (of no file) |" in comparison_markdown(compare(wheel, other), top=5)
