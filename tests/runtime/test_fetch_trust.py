"""Who is trusted, who is told what: certificates, proxies, redirects, tokens of a hub and of a registry."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.runtime.models import transports
from hatch_mlbundle.runtime.models.descriptor import Model, ModelFile
from hatch_mlbundle.runtime.models.errors import ModelUnavailableError
from hatch_mlbundle.runtime.models.fetch import fetch
from hatch_mlbundle.runtime.models.transports import url_of
from tests.webserver import Answer, Handler, authority, files, proxying, reply, serving

BODY = random.Random(8).randbytes(100_000)
SHA = hashlib.sha256(BODY).hexdigest()
FILE = ModelFile(path="model.bin", size=len(BODY), sha256=SHA)
MODEL = Model(name="blip", path="blip", mode="download", is_file=False, files=(FILE, FILE))
BLOB = f"/v2/team/blip/blobs/sha256:{SHA}"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("HF_", "MLBUNDLE_OFFLINE", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "DOCKER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not shutil.which("openssl"):
        pytest.skip("openssl is missing")
    return authority(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trust the certificate of `certificate`, and return it with its key."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    return certificate[0]


def fetched(tmp_path: Path, *urls: str) -> bytes:
    descriptor = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        fetch(FILE, urls, descriptor, lambda count: None)
    finally:
        os.close(descriptor)
    return (tmp_path / "part").read_bytes()


def refused(tmp_path: Path, url: str) -> str:
    with pytest.raises(ModelUnavailableError) as caught:
        fetched(tmp_path, url)
    return str(caught.value)


# Certificates


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_certificate_that_the_environment_names(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    both, alone = certificate
    with serving(files({"/x": BODY}), both) as server:
        message = refused(tmp_path, f"{server.url}/x")
        assert message == f"'model.bin' cannot be fetched: {server.url}/x: its certificate is not trusted (self-signed certificate)"
        if variable == "SSL_CERT_DIR":
            subprocess.run(["openssl", "rehash", alone.parent], check=True, capture_output=True)
        monkeypatch.setenv(variable, str(alone.parent if variable == "SSL_CERT_DIR" else alone))
        assert fetched(tmp_path, f"{server.url}/x") == BODY


def test_a_certificate_for_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, alone = authority(tmp_path, "example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(alone))
    with serving(files({"/x": BODY}), both) as server:
        assert "its certificate is not trusted (Hostname mismatch" in refused(tmp_path, f"{server.url}/x")


def test_http_where_https_was_expected_and_the_other_way_round(tmp_path: Path, trusted: Path) -> None:
    with serving(files({"/x": BODY}), trusted) as server:
        assert "cannot be fetched" in refused(tmp_path, server.url.replace("https", "http") + "/x")
    with serving(files({"/x": BODY})) as server:
        assert "cannot be fetched" in refused(tmp_path, server.url.replace("http", "https") + "/x")


def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path, trusted: Path) -> None:
    with serving(files({"/x": BODY})) as plain, serving(redirect(f"{plain.url}/x"), trusted) as server:
        assert f"it redirects to {plain.url}/x, which is not https" in refused(tmp_path, f"{server.url}/x")
        assert not plain.asked


def test_a_redirect_from_http_to_https_is_followed(tmp_path: Path, trusted: Path) -> None:
    with serving(files({"/x": BODY}), trusted) as server, serving(redirect(f"{server.url}/x")) as plain:
        assert fetched(tmp_path, f"{plain.url}/x") == BODY


def redirect(location: str) -> Answer:
    return lambda handler: reply(handler, 302, {"Location": location})


def test_a_frozen_openssl_that_looks_where_nothing_is(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    both, alone = certificate
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(transports, "_BUNDLES", (str(tmp_path / "none"), str(alone)))
    with serving(files({"/x": BODY}), both) as server:
        assert fetched(tmp_path, f"{server.url}/x") == BODY


# Proxies


def test_a_proxy_carries_http_and_https(tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying() as proxy, serving(files({"/x": BODY})) as plain, serving(files({"/x": BODY}), trusted) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://user:secret@"))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert fetched(tmp_path, f"{plain.url}/x") == BODY
        assert fetched(tmp_path, f"{server.url}/x") == BODY
        assert proxy.paths == [f"{plain.url}/x", server.url.removeprefix("https://")]
        assert proxy.headers[0]["Proxy-Authorization"] == f"Basic {base64.b64encode(b'user:secret').decode()}"
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        assert fetched(tmp_path, f"{server.url}/x") == fetched(tmp_path, f"{plain.url}/x") == BODY
        assert len(proxy.asked) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python 3.10 leaves the refused connection open
def test_a_proxy_that_refuses_or_is_not_there(tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(refuse=True) as proxy, serving(files({"/x": BODY}), trusted) as server:
        monkeypatch.setenv("https_proxy", proxy.url)
        assert "407" in refused(tmp_path, f"{server.url}/x")
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    message = refused(tmp_path, "http://example.com/x")
    assert message == "'model.bin' cannot be fetched: http://example.com/x: Connection refused"


# The hub's token


def test_the_hub_s_token_goes_to_the_hub_alone(tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/o/r/resolve/v1/sub/model.bin"
    with serving(files({"/cdn/model.bin": BODY})) as cdn:
        answers = {place: f"/api{place}", f"/api{place}": f"{cdn.url}/cdn/model.bin"}
        with serving(lambda handler: reply(handler, 302, {"Location": answers[handler.path]})) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
            assert fetched(tmp_path, url_of("hf://o/r@v1/sub", MODEL, FILE)) == BODY
            assert hub.paths == [place, f"/api{place}"]
            assert [headers["Authorization"] for headers in hub.headers] == ["Bearer hf_secret"] * 2
            assert cdn.headers[0]["Authorization"] is None
            monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}0")
            fetched(tmp_path, f"{hub.url}{place}")
            assert hub.headers[-1]["Authorization"] is None


def test_the_hub_s_token_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(files({"/o/r/resolve/main/model.bin": BODY})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        url = url_of("hf://o/r", MODEL, FILE)
        fetched(tmp_path, url)
        for number, folder in enumerate((tmp_path / "home/.cache/huggingface", tmp_path / "hf", tmp_path / "xdg/huggingface")):
            folder.mkdir(parents=True)
            (folder / "token").write_text(f"hf_{number}\n")
        fetched(tmp_path, url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        fetched(tmp_path, url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        fetched(tmp_path, url)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "home/.cache/huggingface/token"))
        fetched(tmp_path, url)
        (tmp_path / "home/.cache/huggingface/token").write_bytes(b"\xff\r\nX-Injected: 1")
        fetched(tmp_path, url)
    told = [headers["Authorization"] for headers in hub.headers]
    assert told == [None, "Bearer hf_0", "Bearer hf_2", "Bearer hf_1", "Bearer hf_0", None]


def test_a_token_does_not_go_over_http_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from hatch_mlbundle.runtime.models.transports import _hub_secret

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.corp")
    assert _hub_secret("http://hub.corp/o/r/resolve/main/x") == ""
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.corp")
    assert _hub_secret("https://hub.corp/o/r/resolve/main/x") == "Bearer hf_secret"
    assert _hub_secret("https://hub.corp.evil.com/o/r/resolve/main/x") == ""


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://localhost", "https:/x", "http://[::1"])
def test_an_endpoint_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert refused(tmp_path, url_of("hf://o/r", MODEL, FILE)).endswith(": it leads to an address that is none")


def test_the_hub_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(files({"/x": BODY})) as server:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert "HF_HUB_OFFLINE is set" in refused(tmp_path, "https://huggingface.co/o/r/resolve/main/model.bin")
        assert fetched(tmp_path, f"{server.url}/x") == BODY


# A registry's tokens


def registry(realm: str, storage: str, wanted: str = "Bearer t0ken") -> Answer:
    """Answer as a registry that wants a token of `realm`, and redirects to where its blobs are stored."""

    def answer(handler: Handler) -> None:
        if handler.headers["Authorization"] != wanted:
            challenge = f'Bearer realm="{realm}",service="registry.example",scope="repository:team/blip:pull,push"'
            return reply(handler, 401, {"WWW-Authenticate": challenge}, b"{}")
        return reply(handler, 307, {"Location": storage})

    return answer


def tokens(handler: Handler) -> None:
    reply(handler, 200, {}, json.dumps({"token": "t0ken"} if "service=" in handler.path else {}).encode())


def test_a_registry_s_anonymous_token(tmp_path: Path) -> None:
    with (
        serving(files({"/stored?sig=1": BODY})) as storage,
        serving(tokens) as realm,
        serving(registry(f"{realm.url}/token?x=1", f"{storage.url}/stored?sig=1")) as server,
    ):
        assert fetched(tmp_path, server.url + BLOB) == BODY
    assert realm.paths == ["/token?x=1&service=registry.example&scope=repository%3Ateam%2Fblip%3Apull%2Cpush"]
    assert realm.headers[0]["Authorization"] is None
    assert [headers["Authorization"] for headers in server.headers] == [None, "Bearer t0ken"]
    assert storage.headers[0]["Authorization"] is None


def test_a_registry_s_token_for_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = base64.b64encode(b"user:secret").decode()
    with (
        serving(files({"/stored": BODY})) as storage,
        serving(tokens) as realm,
        serving(registry(f"{realm.url}/token", f"{storage.url}/stored")) as server,
    ):
        config = {"auths": {server.url.removeprefix("http://"): {"auth": login}, "other.example": {"auth": "b3RoZXI="}}}
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        assert fetched(tmp_path, server.url + BLOB) == BODY
    assert realm.headers[0]["Authorization"] == f"Basic {login}"
    assert [headers["Authorization"] for headers in server.headers] == [None, "Bearer t0ken"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda handler: reply(handler, 403, {}, b"{}"), "403: its registry gives no token"),
        (lambda handler: reply(handler, 200, {}, b"[" * 200_000), "200: its registry gives no token"),
        (lambda handler: reply(handler, 200, {}, b"[]"), "200: its registry gives no token"),
        (lambda handler: reply(handler, 200, {}, b'{"token": 5}'), "200: its registry gives no token"),
        (lambda handler: reply(handler, 200, {}, b'{"token": "a\\r\\nX: b"}'), "200: its registry gives no token"),
        (lambda handler: reply(handler, 302, {"Location": "file:///etc/passwd"}), "302: its registry gives no token"),
        (lambda handler: reply(handler, 200, {"Content-Length": None}, b" " * (1 << 22)), "200: its registry gives no token"),
    ],
)
def test_a_realm_that_gives_no_token(tmp_path: Path, answer: Answer, told: str) -> None:
    with serving(answer) as realm, serving(registry(f"{realm.url}/token", "/x")) as server:
        assert told in refused(tmp_path, server.url + BLOB)


@pytest.mark.parametrize("challenge", ["", "Negotiate", "Bearer", 'Bearer realm="file:///etc/passwd"', 'Basic realm="x"'])
def test_a_challenge_that_cannot_be_met(tmp_path: Path, challenge: str) -> None:
    with serving(lambda handler: reply(handler, 401, {"WWW-Authenticate": challenge})) as server:
        assert ": 401" in refused(tmp_path, server.url + BLOB)
        assert len(server.asked) == 1


def test_a_registry_over_https_may_not_send_logins_to_http(tmp_path: Path, trusted: Path) -> None:
    with serving(tokens) as realm, serving(registry(f"{realm.url}/token", "/x"), trusted) as server:
        assert ": 401" in refused(tmp_path, server.url + BLOB)
        assert not realm.asked


# What it costs an application


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_download_takes_little_memory(tmp_path: Path) -> None:
    body = bytes(64_000_000)
    code = (
        "import os, sys\n"
        "from hatch_mlbundle.runtime.models.descriptor import ModelFile\n"
        "from hatch_mlbundle.runtime.models.fetch import fetch\n"
        "file = ModelFile(path='x', size=int(sys.argv[2]), sha256=sys.argv[3])\n"
        "fetch(file, [sys.argv[1]], os.open(sys.argv[4], os.O_RDWR | os.O_CREAT), lambda count: None)\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with serving(files({"/x": body})) as server:
        arguments = [f"{server.url}/x", str(len(body)), hashlib.sha256(body).hexdigest(), str(tmp_path / "x")]
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert int(result.stdout) < 36_000  # kB; half of it is Python itself
