"""Where a source of a model's files leads, and what comes from there: https, file, the Hugging Face hub, S3, and blobs of an OCI registry.

docs/model-sources.md tells which sources there are, and which variables of the environment matter.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import io
import json
import os
import re
import socket
import ssl
import stat
import string
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TypeAlias
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from .descriptor import Model, ModelFile
from .errors import ModelFileError

Answer: TypeAlias = tuple[int, int, Callable[[memoryview], "int | None"]]
"""The byte of the file that it begins with, how many there are at most, and what reads them into memory: 0 at the end."""

_REST = re.compile(r"[^/@]+/.*")
_PATHS = {
    "https": _REST,
    "http": _REST,
    "s3": _REST,
    "file": re.compile(r"(localhost)?/.*"),
    "hf": re.compile(r"([^/@]+/[^/@]+)(?:@(refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(.*))?"),
    "oci": re.compile(r"((?:[\w.-]+|\[[0-9a-f:]+\])(?::\d+)?)/([a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*)", re.ASCII),
}
"""What follows a source's scheme, without a query: no user, no password, no tag."""
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.ASCII)
_MOST_REDIRECTS = 8
_LONGEST_SECRET = 1 << 20
"""Bytes that are read of a file or an answer with a token in it."""
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that say nothing of the next try."""
_BUNDLES = (  # Debian and Alpine, Fedora and RHEL, openSUSE, macOS and BSD
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class RefusedError(Exception):
    """A source that does not give a file, and why; to ask it again does not help."""


class BrokenError(Exception):
    """A source that did not give a file this time, and why; `wait` is after how many seconds it wants to be asked again."""

    def __init__(self, message: str, wait: float = 0) -> None:
        super().__init__(message)
        self.wait = wait


def url_of(source: str, model: Model, file: ModelFile) -> str:
    """Return the URL of a file below a source; raises ModelFileError for a source that nothing can be fetched from.

    `https://HOST/FOLDER/`, `file:///FOLDER/`: the file's path below it, before a query. `hf://OWNER/REPO@REVISION/FOLDER`: as the hub
    lays them out. `s3://BUCKET/PREFIX/`. `oci://REGISTRY/REPOSITORY`: the blob with the file's SHA-256. A source of the file's own is
    the file itself; so is one without a `/` at its end that has the file's name, or ends with `.tar` (the model's archive).
    """
    scheme, _, rest = source.partition("://")
    path, mark, query = rest.partition("?")
    found = _PATHS[scheme].fullmatch(path) if scheme in _PATHS and re.fullmatch(r"[!-~]+", source) else None
    if not found:
        raise ModelFileError(f"model '{model.name}': {shown(source)!r} is no source of a kind that is known (docs/model-sources.md)")
    if not path.endswith("/") and (source in file.sources or path.endswith((".tar", f"/{quote(file.path)}"))):
        below = ""
    elif path.endswith("/") or scheme in ("hf", "s3", "oci"):
        below = "/" * (not path.endswith("/")) + quote(file.path)
    elif len(model.files) == 1:
        below = ""
    else:
        raise ModelFileError(f"model '{model.name}': source {shown(source)!r} is a folder, and has to end with '/'")
    if scheme == "hf":
        return _on_hub(found[1], found[2] or "main", ((found[3] or "") + below).lstrip("/"))
    if scheme == "s3":
        return _in_bucket(path + below)
    return _blob(found[1], found[2], file.sha256) if scheme == "oci" else f"{scheme}://{path}{below}{mark}{query}"


def _on_hub(repository: str, revision: str, path: str) -> str:
    return f"{_hub()}/{repository}/resolve/{quote(unquote(revision), safe='')}/{path}"


def _in_bucket(path: str) -> str:
    """Return the public URL of an object: at AWS by the bucket's own host, elsewhere below the endpoint."""
    environ = os.environ
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return f"{endpoint.rstrip('/')}/{path}"
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    host = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    bucket, _, key = path.partition("/")
    return f"https://{host}/{path}" if "." in bucket else f"https://{bucket}.{host}/{key}"


def _blob(registry: str, repository: str, sha256: str) -> str:
    """Return the URL of a blob (OCI distribution specification 1.1, "Pulling blobs")."""
    if registry == "docker.io":
        registry, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
    scheme = "http" if _LOOPBACK.fullmatch(registry) else "https"
    return f"{scheme}://{registry}/v2/{repository}/blobs/sha256:{sha256}"


def shown(url: str) -> str:
    """Return a URL as it may be told to anybody: without user, password and query, which may hold a signature."""
    return plain(re.sub(r"(?s)^(https?://)[^/?#]*@|[?#].*", r"\1", url))


def plain(text: object) -> str:
    """Return a text that came from elsewhere on one line, and not too long."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)[:300]).split())


class Source:
    """A file at a URL, which is asked for again where the connection breaks."""

    def __init__(self, url: str, size: int) -> None:
        given = os.environ.get("MLBUNDLE_TIMEOUT", "")
        self.timeout = float(given) if re.fullmatch(r"[1-9]\d{0,5}", given) else 30.0
        self._url = url
        self._size = size
        self._validator = ""
        self._ranges = True

    @contextlib.contextmanager
    def opened(self, position: int) -> Iterator[Answer]:
        """Ask for the file from a byte on; what comes may begin with its first byte all the same.

        Raises RefusedError, BrokenError, and what `explained` explains.
        """
        if self._url.startswith("file:"):
            with _opened_file(self._url, self._size) as file:
                file.seek(position)
                yield position, self._size - position, file.readinto
            return
        headers = {"Range": f"bytes={position}-"} if position and self._ranges else {}
        if headers and self._validator:
            headers["If-Range"] = self._validator
        with _opened(self._url, headers, self.timeout) as response:
            start = self._start(response, position if headers else 0)
            tag = response.headers["ETag"] or ""
            self._validator = tag if re.fullmatch(r'"[!-~]*"', tag) else ""
            if response.length is None:  # in chunks, or until the connection ends
                yield start, self._size - start, response.readinto1
            else:  # straight into the memory that is hashed
                yield start, min(self._size - start, response.length), response.fp.readinto1

    def _start(self, response: http.client.HTTPResponse, position: int) -> int:
        """Return the byte that an answer begins with (RFC 9110, 14.4 and 15)."""
        status, headers, size = response.status, response.headers, response.length
        if status in _AGAIN:
            wait = headers["Retry-After"] or ""
            raise BrokenError(_status(response), int(wait) if re.fullmatch(r"\d{1,9}", wait) else 0)
        if status not in (200, 206, 416):
            raise RefusedError(_status(response))
        span = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers["Content-Range"] or "")
        is_part = status != 200 or "Content-Range" in headers  # rclone's server of S3 sends parts with 200
        if is_part and (not span or int(span[1]) != position):
            if not position:
                raise RefusedError(_status(response))
            self._ranges = False
            raise BrokenError("it does not go on from where it was")
        if span:
            size = None if span[2] == "*" else int(span[2])
        if headers["Content-Encoding"] not in (None, "", "identity"):
            raise RefusedError(f"it sends the file packed ({plain(headers['Content-Encoding'])})")
        if size not in (None, self._size):
            raise RefusedError(f"it has {size:,} bytes, not {self._size:,}")
        return position if is_part else 0


def _status(response: http.client.HTTPResponse) -> str:
    return f"{response.status} {plain(response.reason)}".rstrip()


def _opened_file(url: str, size: int) -> io.FileIO:
    path = urllib.request.url2pathname(url.removeprefix("file://").removeprefix("localhost"))
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_size != size:
            raise RefusedError(f"it is no file of {size:,} bytes")
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise RefusedError(error.strerror or "it cannot be read") from None


def explained(error: BaseException) -> BaseException:
    """Return what went wrong with a source, in words that hold nothing secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(f"its certificate is not trusted ({plain(error.verify_message)})")
    if isinstance(error, socket.gaierror):
        return RefusedError("there is no such host")
    if isinstance(error, TimeoutError):
        return BrokenError("it does not answer")
    if isinstance(error, OSError):
        return BrokenError(plain(error.strerror or error))
    if isinstance(error, http.client.HTTPException):
        return BrokenError(f"its answer breaks off, or is no HTTP ({type(error).__name__})")
    return RefusedError("it leads to an address that is none") if isinstance(error, ValueError) else error


def _opened(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """Ask for a URL, along its redirects, and return the answer; what proves who asks goes to the host that it is for alone."""
    proven, proof = "", ""
    for _ in range(_MOST_REDIRECTS):
        secret = proof if proof and url.startswith(proven) else _hub_secret(url)
        response = _ask(url, {**headers, "Authorization": secret} if secret else headers, timeout)
        location, challenge = response.headers["Location"], response.headers["WWW-Authenticate"]
        if response.status in (301, 302, 303, 307, 308) and location:
            response.close()
            url = _redirected(url, location)
        elif response.status == 401 and challenge and not proof and "/blobs/sha256:" in url:
            response.close()
            proven, proof = url.partition("/v2/")[0] + "/v2/", _registry_secret(url, challenge, timeout)
        else:
            return response
    raise RefusedError("it redirects too often")


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads: never from https to anything else, nor to a file."""
    target = urlsplit(urljoin(url, _clean(location))).geturl()
    if not target.startswith(("https://", "http://" if url.startswith("http://") else "https://")) or "@" in urlsplit(target).netloc:
        raise RefusedError(f"it redirects to {shown(target)}, which is not https")
    return target


def _clean(address: str) -> str:
    """Return an address from a header without what none may hold, which http.client would show in its error."""
    return quote(address, safe=string.punctuation, encoding="iso-8859-1")


def _ask(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """Ask for one URL, through the environment's proxies; follows no redirect and returns whatever the status is."""
    environ = os.environ.get
    if not url.startswith(("https://", "http://")):
        raise ValueError("neither http nor https")
    if url.startswith("https://"):
        trust = _trust(environ("REQUESTS_CA_BUNDLE") or environ("CURL_CA_BUNDLE"), environ("SSL_CERT_FILE"), environ("SSL_CERT_DIR"))
    else:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which trusts nobody; to read all certificates takes megabytes
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(context=trust)):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "mlbundle", **headers})  # noqa: S310 - http and https alone
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else RefusedError(plain(error.reason)) from None
    return response


@functools.lru_cache(1)
def _trust(bundle: str | None, *_variables: str | None) -> ssl.SSLContext:
    """Return what certificates are checked by; OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR by itself.

    An application frozen elsewhere brings an OpenSSL that may look into a folder that this system has not.
    """
    if bundle and os.path.exists(bundle):
        is_folder = os.path.isdir(bundle)
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath
    if not context.cert_store_stats()["x509"] and not (folder and any(re.match(r"[0-9a-f]{8}\.\d", name) for name in os.listdir(folder))):
        found = next(filter(os.path.exists, _BUNDLES), None)
        with contextlib.suppress(ImportError):
            found = found or importlib.import_module("certifi").where()
        if found:
            context.load_verify_locations(found)
    return context


def _is_private(url: str) -> bool:
    """Say whether nobody on the way reads what is sent to a URL."""
    return url.startswith("https://") or bool(_LOOPBACK.fullmatch(urlsplit(url).netloc))


def _header(kind: str, secret: object) -> str:
    """Return what is sent to prove who asks; empty for what cannot be a secret."""
    return f"{kind} {secret}" if isinstance(secret, str) and re.fullmatch(r"[!-~]+", secret) else ""


def _text(path: str) -> str:
    """Return a small file's text, empty where it cannot be read."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return file.read(_LONGEST_SECRET)
    return ""


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _hub_secret(url: str) -> str:
    """Return the header that proves to the hub who asks; empty for every other host, and where there is no token."""
    environ = os.environ.get
    if not url.startswith(_hub() + "/"):
        return ""
    if environ("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise RefusedError("HF_HUB_OFFLINE is set")
    cache = environ("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    home = environ("HF_HOME") or os.path.join(cache, "huggingface")
    token = environ("HF_TOKEN") or _text(environ("HF_TOKEN_PATH") or os.path.join(home, "token"))
    return _header("Bearer", token.strip()) if _is_private(url) else ""


def _registry_secret(url: str, challenge: str, timeout: float) -> str:
    """Return the header that a registry asks for (distribution project, "Token Authentication Specification"; RFC 9110, 11.6.1)."""
    kind, _, rest = challenge.strip().partition(" ")
    given = {name.lower(): value for name, value in re.findall(r'(\w+)="([^"]*)"', rest)}
    login = _docker_login(urlsplit(url).netloc) if _is_private(url) else ""
    if kind.lower() == "basic" and login:
        return login
    realm = _clean(given.get("realm", ""))
    if kind.lower() != "bearer" or not realm.startswith(("https://", url.partition("/")[0] + "//")):
        raise RefusedError("401: it wants a user and a password (docker login)")
    realm += ("&" if "?" in realm else "?") + urlencode({name: given[name] for name in ("service", "scope") if name in given})
    with _ask(realm, {"Authorization": login} if login and _is_private(realm) else {}, timeout) as answer:
        text = answer.read(_LONGEST_SECRET)
    try:
        body = json.loads(text)
        secret = _header("Bearer", body.get("token") or body["access_token"])
    except (ValueError, LookupError, AttributeError, RecursionError):
        secret = ""
    if not secret:
        raise RefusedError(f"{answer.status}: its registry gives no token")
    return secret


def _docker_login(registry: str) -> str:
    """Return what `docker login` wrote down for a registry, as a header; empty where it wrote nothing, or into a helper's keeping."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    name = "https://index.docker.io/v1/" if registry == "registry-1.docker.io" else registry
    try:
        return _header("Basic", json.loads(_text(os.path.join(folder, "config.json")))["auths"][name]["auth"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
