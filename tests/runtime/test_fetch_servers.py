"""Fetching from real servers: a container registry, a server of S3, and curl beside us."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from hatch_mlbundle.runtime.models.descriptor import Model, ModelFile
from hatch_mlbundle.runtime.models.errors import ModelUnavailableError
from hatch_mlbundle.runtime.models.fetch import fetch
from hatch_mlbundle.runtime.models.transports import url_of
from tests.imagesmith import layer
from tests.webserver import files, serving

BODY = random.Random(9).randbytes(1_500_000)
HTPASSWD = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""`user` with the password `secret`."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("AWS_", "MLBUNDLE_OFFLINE", "DOCKER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def model_of(**contents: bytes) -> Model:
    described = tuple(
        ModelFile(path=name, size=len(body), sha256=hashlib.sha256(body).hexdigest()) for name, body in sorted(contents.items())
    )
    return Model(name="blip", path="blip", mode="download", is_file=False, files=described)


def fetched(path: Path, model: Model, source: str, number: int = 0) -> bytes:
    """Fetch a file of a model into `path`, going on from what is there."""
    file = model.files[number]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fetch(file, [url_of(source, model, file)], descriptor, lambda count: None)
    finally:
        os.close(descriptor)
    return path.read_bytes()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def program(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends, once it listens."""
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env={"HOME": "/nonexistent"}) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def docker_registry(folder: Path, login: bool = False) -> Iterator[str]:
    """Run a registry on a free port and give its name."""
    command = shutil.which("docker-registry")
    if not command or not shutil.which("skopeo"):
        pytest.skip("docker-registry or skopeo is missing")
    port = free_port()
    (folder / "htpasswd").write_text(HTPASSWD)
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": {"htpasswd": {"realm": "basic-realm", "path": str(folder / "htpasswd")}}} if login else {}),
    }
    (folder / "config.yml").write_text(json.dumps(config))  # every JSON is YAML
    with program([command, "serve", str(folder / "config.yml")], port, folder / "registry.log"):
        yield f"127.0.0.1:{port}"


def push(folder: Path, registry: str, *options: str) -> tuple[Model, bytes]:
    """Push an image whose only layer is an archive, and return a model with that blob."""
    archive = layer(("blip/model.bin", BODY))
    blobs = {"layer": archive, "config": json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}).encode()}
    names = {name: hashlib.sha256(body).hexdigest() for name, body in blobs.items()}
    kinds = {"layer": "application/vnd.oci.image.layer.v1.tar", "config": "application/vnd.oci.image.config.v1+json"}
    told = {name: {"mediaType": kinds[name], "size": len(body), "digest": f"sha256:{names[name]}"} for name, body in blobs.items()}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    layout = folder / "layout"
    layout.mkdir()
    (layout / "manifest.json").write_text(json.dumps({**manifest, "config": told["config"], "layers": [told["layer"]]}))
    (layout / "version").write_text("Directory Transport Version: 1.1\n")
    for name, body in blobs.items():
        (layout / names[name]).write_bytes(body)
    target = f"docker://{registry}/team/blip:1"
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", *options, f"dir:{layout}", target]
    subprocess.run(copy, check=True, capture_output=True, timeout=60)
    return model_of(archive=archive), archive


def test_a_blob_of_a_registry(tmp_path: Path) -> None:
    with docker_registry(tmp_path) as registry:
        model, archive = push(tmp_path, registry)
        assert fetched(tmp_path / "part", model, f"oci://{registry}/team/blip") == archive
        (tmp_path / "half").write_bytes(archive[:700_000])
        assert fetched(tmp_path / "half", model, f"oci://{registry}/team/blip") == archive
        with pytest.raises(ModelUnavailableError, match="404 Not Found"):
            fetched(tmp_path / "none", model_of(other=b"other"), f"oci://{registry}/team/blip")


def test_a_registry_with_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with docker_registry(tmp_path, login=True) as registry:
        model, archive = push(tmp_path, registry, "--dest-creds=user:secret")
        with pytest.raises(ModelUnavailableError, match=r"401: it wants a user and a password \(docker login\)"):
            fetched(tmp_path / "part", model, f"oci://{registry}/team/blip")
        (tmp_path / "docker").mkdir()
        auths = {registry: {"auth": base64.b64encode(b"user:secret").decode()}}
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": auths}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        assert fetched(tmp_path / "part", model, f"oci://{registry}/team/blip") == archive


@contextlib.contextmanager
def bucket_server(folder: Path, *options: str) -> Iterator[str]:
    """Run rclone's server of S3 over a folder, and give its URL."""
    command = shutil.which("rclone")
    if not command or b"--auth-key" not in subprocess.run([command, "serve", "s3", "--help"], capture_output=True, check=False).stdout:
        pytest.skip("rclone is missing, or older than 1.65")
    port = free_port()
    serve = [command, "serve", "s3", "--config", "", "--cache-dir", str(folder / "cache"), "--addr", f"127.0.0.1:{port}", *options]
    with program([*serve, str(folder / "buckets")], port, folder / "rclone.log"):
        yield f"http://127.0.0.1:{port}"


def presigned(url: str, key: str, secret: str) -> str:
    """Return a URL that is signed for an hour (AWS Signature Version 4, "Authenticating Requests: Using Query Parameters")."""
    _, _, host, path = url.split("/", 3)
    now = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    asked = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{scope}",
        "X-Amz-Date": now,
        "X-Amz-Expires": "3600",
        "X-Amz-SignedHeaders": "host",
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(asked.items()))
    request = f"GET\n/{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    return f"{url}?{query}&X-Amz-Signature={hmac.digest(signing, text.encode(), 'sha256').hex()}"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    place = tmp_path / "buckets/models/blip v1"
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(BODY)
    (place / "config.json").write_bytes(b"{}")
    return tmp_path


def test_a_public_bucket(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(**{"model.bin": BODY, "config.json": b"{}"})
    with bucket_server(bucket) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
        (bucket / "part").write_bytes(BODY[:1_000_000])
        assert fetched(bucket / "part", model, "s3://models/blip%20v1/", 1) == BODY
        assert fetched(bucket / "small", model, "s3://models/blip%20v1", 0) == b"{}"
        with pytest.raises(ModelUnavailableError, match="404 Not Found"):
            fetched(bucket / "none", model, "s3://models/v2/")


def test_presigned_urls(bucket: Path) -> None:
    with bucket_server(bucket, "--auth-key", "AKID,hush") as server:
        place = f"{server}/models/blip%20v1/model.bin"
        model = model_of(**{"model.bin": BODY})
        (bucket / "part").write_bytes(BODY[:1_000_000])
        assert fetched(bucket / "part", model, presigned(place, "AKID", "hush")) == BODY
        with pytest.raises(ModelUnavailableError, match=f"{place}: 403 Forbidden$"):
            fetched(bucket / "other", model, presigned(place, "AKID", "wrong"))
        with pytest.raises(ModelUnavailableError, match=r"400 Bad Request|403 Forbidden"):
            fetched(bucket / "other", model, place)


def test_curl_gets_the_same(tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is missing")
    with serving(files({"/model.bin": BODY})) as server:
        target = tmp_path / "curl"
        target.write_bytes(BODY[:400_000])
        curl = ["curl", "--noproxy", "*", "-sfL", "-C", "-", "-o", target, f"{server.url}/model.bin"]
        subprocess.run(curl, check=True, timeout=60)
        (tmp_path / "ours").write_bytes(BODY[:400_000])
        assert fetched(tmp_path / "ours", model_of(**{"model.bin": BODY}), f"{server.url}/") == target.read_bytes()
    assert [headers["Range"] for headers in server.headers] == ["bytes=400000-", "bytes=400000-"]
