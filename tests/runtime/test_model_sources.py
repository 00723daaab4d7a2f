"""What a source's URL leads to, and which are refused."""

from __future__ import annotations

import pytest

from hatch_mlbundle.runtime.models.descriptor import Model, ModelFile
from hatch_mlbundle.runtime.models.errors import ModelFileError
from hatch_mlbundle.runtime.models.transports import shown, url_of

SHA = "ab" * 32
FILE = ModelFile(path="onnx/model fp32#1.onnx", size=3, sha256=SHA)
OTHER = ModelFile(path="config.json", size=2, sha256="cd" * 32)
MODEL = Model(name="blip", path="models/blip", mode="download", is_file=False, files=(FILE, OTHER))
SINGLE = Model(name="tiny", path="tiny.onnx", mode="download", is_file=True, files=(ModelFile(path="tiny.onnx", size=1, sha256=SHA),))
ARCHIVE = ModelFile(path="blip.tar", size=9, sha256="ef" * 32)
QUOTED = "onnx/model%20fp32%231.onnx"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://host/m/blip/", f"https://host/m/blip/{QUOTED}"),
        ("http://127.0.0.1:1/", f"http://127.0.0.1:1/{QUOTED}"),
        ("https://host/m/?token=a/b", f"https://host/m/{QUOTED}?token=a/b"),
        ("file:///srv/models/blip/", f"file:///srv/models/blip/{QUOTED}"),
        ("file://localhost/srv/", f"file://localhost/srv/{QUOTED}"),
        ("hf://Salesforce/blip", f"https://huggingface.co/Salesforce/blip/resolve/main/{QUOTED}"),
        ("hf://Salesforce/blip/", f"https://huggingface.co/Salesforce/blip/resolve/main/{QUOTED}"),
        ("hf://Salesforce/blip@v1.0/sub/folder", f"https://huggingface.co/Salesforce/blip/resolve/v1.0/sub/folder/{QUOTED}"),
        ("hf://Salesforce/blip@refs/pr/7/sub/", f"https://huggingface.co/Salesforce/blip/resolve/refs%2Fpr%2F7/sub/{QUOTED}"),
        ("hf://Salesforce/blip@refs%2Fpr%2F7", f"https://huggingface.co/Salesforce/blip/resolve/refs%2Fpr%2F7/{QUOTED}"),
        ("s3://bucket/models/blip/", f"https://bucket.s3.amazonaws.com/models/blip/{QUOTED}"),
        ("s3://bucket/models/blip", f"https://bucket.s3.amazonaws.com/models/blip/{QUOTED}"),
        ("s3://my.bucket/blip/", f"https://s3.amazonaws.com/my.bucket/blip/{QUOTED}"),
        ("oci://ghcr.io/owner/models/blip", f"https://ghcr.io/v2/owner/models/blip/blobs/sha256:{SHA}"),
        ("oci://localhost:5000/blip", f"http://localhost:5000/v2/blip/blobs/sha256:{SHA}"),
        ("oci://[::1]:5000/blip", f"http://[::1]:5000/v2/blip/blobs/sha256:{SHA}"),
        ("oci://docker.io/blip", f"https://registry-1.docker.io/v2/library/blip/blobs/sha256:{SHA}"),
    ],
)
def test_a_file_below_a_source(source: str, url: str) -> None:
    assert url_of(source, MODEL, FILE) == url


def test_a_source_of_the_file_s_own_is_the_file() -> None:
    signed = "https://bucket.s3.amazonaws.com/blip/x?X-Amz-Signature=00ff&X-Amz-Expires=60"
    file = ModelFile(path="x.bin", size=3, sha256=SHA, sources=(signed, "hf://o/r@main/other.bin", "s3://b/k/other.bin"))
    assert [url_of(source, MODEL, file) for source in file.sources] == [
        signed,
        "https://huggingface.co/o/r/resolve/main/other.bin",
        "https://b.s3.amazonaws.com/k/other.bin",
    ]


def test_a_model_of_one_file() -> None:
    (file,) = SINGLE.files
    assert url_of("https://host/download?id=7", SINGLE, file) == "https://host/download?id=7"
    assert url_of("https://host/", SINGLE, file) == "https://host/tiny.onnx"
    assert url_of("hf://o/r/onnx/tiny.onnx", SINGLE, file) == "https://huggingface.co/o/r/resolve/main/onnx/tiny.onnx"
    assert url_of("hf://o/r/onnx", SINGLE, file) == "https://huggingface.co/o/r/resolve/main/onnx/tiny.onnx"


def test_an_archive() -> None:
    assert url_of("https://host/blip-1.tar?sig=x", MODEL, ARCHIVE) == "https://host/blip-1.tar?sig=x"
    assert url_of("s3://bucket/blip-1.tar", MODEL, ARCHIVE) == "https://bucket.s3.amazonaws.com/blip-1.tar"
    assert url_of("hf://o/r/blip-1.tar", MODEL, ARCHIVE) == "https://huggingface.co/o/r/resolve/main/blip-1.tar"
    assert url_of("oci://ghcr.io/o/blip", MODEL, ARCHIVE) == f"https://ghcr.io/v2/o/blip/blobs/sha256:{'ef' * 32}"


def test_the_environment_says_where_the_hub_and_the_buckets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.corp/hf/")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert url_of("hf://o/r", MODEL, OTHER) == "https://hub.corp/hf/o/r/resolve/main/config.json"
    assert url_of("s3://bucket/k/", MODEL, OTHER) == "https://bucket.s3.eu-central-1.amazonaws.com/k/config.json"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert url_of("s3://bucket/k/", MODEL, OTHER) == "http://127.0.0.1:9000/bucket/k/config.json"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.corp/")
    assert url_of("s3://bucket/k/", MODEL, OTHER) == "https://minio.corp/bucket/k/config.json"


@pytest.mark.parametrize(
    "source",
    [
        *("", "blip", "/srv/blip/", "C:\\models\\", "ftp://host/m/", "javascript:alert(1)", "https://", "https://host"),
        *("https://user:secret@host/m/", "https://host/a b/", "https://host/\n/", "https://hö.st/m/", "file://host/srv/"),
        *("hf://only", "hf://", "s3://bucket", "oci://ghcr.io", "oci://ghcr.io/Owner/blip", "oci://ghcr.io/o/blip:latest"),
        "oci://ghcr.io/o/../../etc",
    ],
)
def test_what_is_no_source(source: str) -> None:
    with pytest.raises(ModelFileError, match=r"^model 'blip'.*model-sources") as caught:
        url_of(source, MODEL, FILE)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_looks_like_a_file() -> None:
    with pytest.raises(ModelFileError, match="has to end with '/'"):
        url_of("https://host/models/blip", MODEL, FILE)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:secret@host/a/b?X-Amz-Signature=secret#secret", "https://host/a/b"),
        ("https://host?secret/", "https://host"),
        ("https://secret@host", "https://host"),
        ("hf://o/r@v1/x?secret", "hf://o/r@v1/x"),
        ("https://host/\x1b[31m\r\nx", "https://host/ [31m x"),
    ],
)
def test_what_is_told_of_a_url(url: str, told: str) -> None:
    assert shown(url) == told
