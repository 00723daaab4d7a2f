from __future__ import annotations

import hashlib

import pytest

from hatch_mlbundle.bundles.record import STRONG, format_record, own_line, parse_record, record_line, unpadded_base64


def test_a_row_reads_as_it_was_written() -> None:
    digest = hashlib.sha256(b"data")
    line = record_line('odd, "name".py', digest.hexdigest(), 4)
    rows = parse_record(format_record([line, own_line("d/RECORD")]).decode())
    row = rows['odd, "name".py']
    assert (row.algorithm, row.size, row.line) == ("sha256", 4, line)
    assert row.digest_fits(digest.digest())
    assert not row.digest_fits(hashlib.sha256(b"other").digest())
    assert (rows["d/RECORD"].algorithm, rows["d/RECORD"].size) == ("", None)


def test_line_ends_blank_lines_and_padding_do_not_matter() -> None:
    digest = hashlib.sha256(b"").digest()
    rows = parse_record(f"a,sha256={unpadded_base64(digest)}=,0\r\n\r\nb,,")
    assert list(rows) == ["a", "b"]
    assert rows["a"].digest_fits(digest)


def test_only_strong_hashes_count() -> None:
    assert {"sha256", "sha384", "sha512", "blake2b"} <= STRONG
    assert not {"md5", "sha1", "sha224", "shake_128"} & STRONG


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b\n", "line 1 of RECORD: 2 fields"),
        ("a,,\nb,sha256,1\n", "line 2 of RECORD: 'sha256' is no hash"),
        ("a,=x,1\n", "is no hash"),
        ("a,sha256=x,-1\n", "'-1' is no size"),
        ("a,sha256=x,1e3\n", "is no size"),
        ("a,sha256=x," + "9" * 5000 + "\n", "is no size"),
        ("a,,\na,,\n", "line 2 of RECORD: 'a' is listed twice"),
        ('"a,,\n', "line 1 of RECORD: "),
        ("a" * 200_000 + ",,\n", "line 1 of RECORD: "),
    ],
)
def test_what_is_no_record(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_record(text)
