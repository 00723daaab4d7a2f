from __future__ import annotations

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.bundles.wheel_scan import export_facts, import_facts
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Bundle, Kind
from tests.bundles.wheelsmith import DIST_INFO, FILES, LISTED, METADATA, Unseekable, build_wheel, record_row


def scanned(path: Path, *, allow_signed: bool = False, workers: int = 2) -> Bundle:
    with WheelSource.open(path, allow_signed=allow_signed) as source:
        return source.scan(workers)


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        scanned(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("workers", [1, 4])
def test_a_scan_tells_what_each_file_is(tmp_path: Path, workers: int) -> None:
    path = build_wheel(tmp_path)
    with WheelSource.open(path) as source:
        bundle = source.scan(workers)
        with zipfile.ZipFile(path) as archive:
            assert list(bundle) == archive.namelist()
        for name, data in FILES.items():
            file = bundle[name]
            assert (file.size, file.sha256, file.read()) == (len(data), sha256(data).hexdigest(), data)
        assert sum(source.compressed_sizes.values()) + source.structure_size == source.size == path.stat().st_size
    assert {name: file.kind for name, file in bundle.items() if file.kind is not Kind.PYTHON} == {
        "demo/_native.so": Kind.ELF,
        "demo/noise.bin": Kind.DATA,
        "demo.libs/libx.so": Kind.ELF,
        "demo-1.0.data/scripts/run": Kind.OTHER,
        **{f"{DIST_INFO}/{name}": Kind.METADATA for name in ("METADATA", "WHEEL", "RECORD")},
    }
    assert bundle["demo/_native.so"].mode == 0o755
    assert bundle["top.py"].mode == 0o644


def test_owners(tmp_path: Path) -> None:
    files = {
        "fast.cpython-311-x86_64-linux-gnu.so": b"",
        ".hidden": b"",
        "demo-1.0.data/platlib/single.py": b"",
        "demo-1.0.data/data/share/x": b"",
        "other-1.0.data/data/x": b"",
    }
    assert {path: file.owner for path, file in scanned(build_wheel(tmp_path, {**FILES, **files})).items()} == {
        "demo/__init__.py": "demo",
        "demo/_native.so": "demo",
        "demo/noise.bin": "demo",
        "demo/empty.py": "demo",
        "demo.libs/libx.so": "demo",
        "top.py": "top",
        "demo-1.0.data/purelib/extra/__init__.py": "extra",
        "demo-1.0.data/scripts/run": "scripts",
        "fast.cpython-311-x86_64-linux-gnu.so": "fast",
        ".hidden": ".hidden",
        "demo-1.0.data/platlib/single.py": "single",
        "demo-1.0.data/data/share/x": "data",
        "other-1.0.data/data/x": "other-1.0.data",
        **{f"{DIST_INFO}/{name}": "demo" for name in ("METADATA", "WHEEL", "RECORD")},
    }


def test_a_wheel_streamed_with_data_descriptors(tmp_path: Path) -> None:
    stream = Unseekable()
    path = build_wheel(tmp_path, stream=stream)
    path.write_bytes(stream.data)
    assert {name: len(data) for name, data in FILES.items()}.items() <= {name: file.size for name, file in scanned(path).items()}.items()


def test_known_facts_are_not_read_again(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    bundle = scanned(path)
    facts = import_facts(json.loads(json.dumps(export_facts(bundle))))
    data = bytearray(path.read_bytes())
    with WheelSource.open(path) as source:
        start = source.members["demo/noise.bin"].data_offset
    data[start] ^= 1
    path.write_bytes(data)
    with WheelSource.open(path) as source:
        again = source.scan(2, facts)
        assert [(file.sha256, file.kind) for file in again.values()] == [(file.sha256, file.kind) for file in bundle.values()]
        del facts["demo/noise.bin"]
        with pytest.raises(ArtifactError, match="CRC-32"):
            source.scan(2, facts)


@pytest.mark.parametrize("data", [None, [], {"a": 1}, {"a": ["x"]}, {"a": ["x", "no kind"]}])
def test_what_are_no_facts(data: object) -> None:
    with pytest.raises(ValueError, match="no facts of a scan"):
        import_facts(data)


@pytest.mark.parametrize(
    ("dist_info", "name", "fault"),
    [
        ("Demo_Pkg-1.0.dist-info", "demo.pkg-1.0.0-py3-none-any.whl", None),
        ("demo-1.0+cpu.dist-info", "demo-1.0+cpu-1-py3-none-any.whl", None),
        ("other-1.0.dist-info", "demo-1.0-py3-none-any.whl", "not what its file name says"),
        ("demo-2.0.dist-info", "demo-1.0-py3-none-any.whl", "not what its file name says"),
        ("demo.dist-info", "demo-1.0-py3-none-any.whl", "not what its file name says"),
        ("demo-1.0.dist-info", "demo.whl", "is not named as a wheel"),
        ("demo-1.0.dist-info", "demo-1.0-py3-none-any.zip", "is not named as a wheel"),
        ("demo-1.0", "demo-1.0-py3-none-any.whl", "0 dist-info folders"),
    ],
)
def test_dist_info_and_file_name_must_agree(tmp_path: Path, dist_info: str, name: str, fault: str | None) -> None:
    path = build_wheel(tmp_path, dist_info=dist_info, name=name)
    if fault is None:
        assert scanned(path)
    else:
        assert fault in refusal(path)


def test_two_dist_info_folders(tmp_path: Path) -> None:
    path = build_wheel(tmp_path, {**FILES, "other-1.0.dist-info/METADATA": b""})
    assert "2 dist-info folders" in refusal(path)


@pytest.mark.parametrize("missing", ["METADATA", "WHEEL"])
def test_what_dist_info_must_hold(tmp_path: Path, missing: str) -> None:
    metadata = {name: data for name, data in METADATA.items() if name != missing}
    assert f"it has no {DIST_INFO}/{missing}" in refusal(build_wheel(tmp_path, metadata=metadata))


def test_a_zip_archive_without_members(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    zipfile.ZipFile(path, "w").close()
    assert "0 dist-info folders" in refusal(path)


@pytest.mark.parametrize("wheel", [b"Wheel-Version: 2.0\n", b"Generator: x\n", b"", b"Wheel-Version: 10.0\n"])
def test_versions_of_the_format(tmp_path: Path, wheel: bytes) -> None:
    assert "knows 1.x" in refusal(build_wheel(tmp_path, metadata={**METADATA, "WHEEL": wheel}))


def test_metadata_that_is_no_text_or_too_large(tmp_path: Path) -> None:
    assert "is not UTF-8" in refusal(build_wheel(tmp_path, metadata={**METADATA, "WHEEL": b"\xff"}))
    assert "1048576 at most" in refusal(build_wheel(tmp_path, metadata={**METADATA, "WHEEL": bytes(2_000_000)}))


def record_of(files: dict[str, bytes]) -> str:
    return "".join(record_row(path, data) for path, data in files.items())


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (record_of({**LISTED, "top.py": b"import Demo\n"}), "hash other than in RECORD: 'top.py'"),
        (record_of({**LISTED, "top.py": b"longer"}), "size other than in RECORD: 'top.py'"),
        (record_of(LISTED).replace("top.py,sha256", "top.py,sha512"), "hash other than in RECORD: 'top.py'"),
        (record_of(FILES), f"not in RECORD: '{DIST_INFO}/METADATA', '{DIST_INFO}/WHEEL'"),
        (record_of({**LISTED, "gone.py": b""}), "in RECORD but not in the wheel: 'gone.py'"),
        (record_of({**LISTED, f"{DIST_INFO}/RECORD.jws": b""}), "in RECORD but not in the wheel"),
        ("", "not in RECORD: 'demo-1.0.data/purelib/extra/__init__.py', 'demo-1.0.data/scripts/run', "),
        ("", " and 7 more"),
        ("".join(f"{path},,\n" for path in LISTED), "no hash in RECORD"),
        ("".join(record_row(path, data, "md5") for path, data in LISTED.items()), "hash weaker than SHA-256 or unknown (md5)"),
        ("a,b\n", "line 1 of RECORD: 2 fields"),
    ],
)
def test_records_that_do_not_fit(tmp_path: Path, record: str, fault: str) -> None:
    message = refusal(build_wheel(tmp_path, record=record))
    assert fault in message
    assert message.endswith("build the wheel again")


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "blake2b"])
def test_records_of_any_strong_hash_without_their_own_row(tmp_path: Path, algorithm: str) -> None:
    record = "".join(record_row(path, data, algorithm) for path, data in LISTED.items())
    bundle = scanned(build_wheel(tmp_path, record=record))
    assert bundle["top.py"].sha256 == sha256(FILES["top.py"]).hexdigest()


def test_a_size_may_be_left_out(tmp_path: Path) -> None:
    assert scanned(build_wheel(tmp_path, record=record_of(LISTED).replace(",12\n", ",\n")))


@pytest.mark.parametrize("signature", ["RECORD.jws", "RECORD.p7s"])
def test_signed_wheels_are_opened_only_where_allowed(tmp_path: Path, signature: str) -> None:
    path = build_wheel(tmp_path, unlisted={f"{DIST_INFO}/{signature}": b"{}"})
    assert "`allow-signed = true` in `[tool.mlbundle]` drops the signature files" in refusal(path)
    assert f"{DIST_INFO}/{signature}" in scanned(path, allow_signed=True)
