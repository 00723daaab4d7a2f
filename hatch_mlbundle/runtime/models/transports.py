"""Where a source of a model's files leads, and what comes from there: https, file, the Hugging Face hub, S3, and blobs of an OCI registry.

docs/model-sources.md tells which sources there are, and which variables of the environment matter.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import importlib
import io
import json
import os
import re
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from .descriptor import Model, ModelFile
from .errors import ModelFileError

_SCHEMES = ("https", "http", "file", "hf", "s3", "oci")
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.ASCII)
_REGISTRY = re.compile(r"([\w.-]+|\[[0-9a-f:]+\])(:\d+)?/[a-z0-9]+([._/-]+[a-z0-9]+)*", re.ASCII)
_REFERENCE = re.compile(r"([^/@]+/[^/@]+)(?:@(refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/|$)(.*)")
_SAFE = "%/:=&?~#+!$,;'@()*[]"
"""What stays as it is in an address that a server sent (as in http.client.HTTPConnection)."""
_MOST_REDIRECTS = 8
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that say nothing of the next try."""
_LONGEST_TOKEN = 1 << 20
"""Bytes of a registry's answer that are read for a token."""
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


class RefusedError(Exception):
    """A source that does not give a file, and what it said; asking it again does not help."""


class BrokenError(Exception):
    """A source that did not give a file this time; `wait` is after how many seconds it wants to be asked again."""

    def __init__(self, message: str, wait: float = 0) -> None:
        super().__init__(message)
        self.wait = wait


def url_of(source: str, model: Model, file: ModelFile) -> str:
    """Return the URL of a file below a source; raises ModelFileError for a source that nothing can be fetched from.

    `https://HOST/FOLDER/`, `file:///FOLDER/`: the file's path below it, before a query. `hf://OWNER/REPO@REVISION/FOLDER`: as the hub
    lays them out. `s3://BUCKET/PREFIX/`. `oci://REGISTRY/REPOSITORY`: the blob with the file's SHA-256. A source of the file's own is
    the file itself; so is one without a `/` at its end that has the file's name, or ends with `.tar` (the model's archive).
    """
    scheme, mark, rest = source.partition("://")
    if not mark or scheme not in _SCHEMES or not rest:
        raise ModelFileError(f"source {shown(source)!r} of model '{model.name}': it has to begin with one of {'://, '.join(_SCHEMES)}://")
    if not re.fullmatch(r"[!-~]+", source) or (scheme != "hf" and "@" in rest.partition("/")[0]):
        raise ModelFileError(
            f"source {shown(source)!r} of model '{model.name}': it may hold printable ASCII alone, and no user or password"
        )
    if scheme == "oci":
        return _blob(source, rest, file)
    path, mark, query = rest.partition("?")
    if not _is_file(source, path, model, file):
        path = path + "/" * (not path.endswith("/")) + quote(file.path)
    if scheme == "hf":
        return _on_hub(source, path)
    if scheme == "s3":
        return _in_bucket(path)
    return f"{scheme}://{path}{mark}{query}"


def _is_file(source: str, path: str, model: Model, file: ModelFile) -> bool:
    """Say whether a source is the file itself, not a folder that it lies in."""
    if path.endswith("/"):
        return False
    if source in file.sources or path.endswith((".tar", f"/{quote(file.path)}")):
        return True
    if source.startswith(("hf:", "s3:")):
        return False
    if len(model.files) > 1:
        raise ModelFileError(f"source {shown(source)!r} of model '{model.name}': a folder has to end with '/'")
    return True


def _blob(source: str, rest: str, file: ModelFile) -> str:
    """Return the URL of a blob (OCI distribution specification 1.1, "Pulling blobs")."""
    if not _REGISTRY.fullmatch(rest):
        raise ModelFileError(f"source {shown(source)!r}: it has to be oci://REGISTRY/REPOSITORY, without a tag")
    registry, _, repository = rest.partition("/")
    if registry == "docker.io":
        registry, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
    scheme = "http" if _LOOPBACK.fullmatch(registry) else "https"
    return f"{scheme}://{registry}/v2/{repository}/blobs/sha256:{file.sha256}"


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _on_hub(source: str, path: str) -> str:
    """Return the URL of a file on a Hugging Face hub, or what mirrors it."""
    found = _REFERENCE.fullmatch(path)
    if not found:
        raise ModelFileError(f"source {shown(source)!r}: it has to be hf://OWNER/REPO@REVISION/FOLDER")
    repository, revision, inside = found.groups()
    return f"{_hub()}/{repository}/resolve/{quote(unquote(revision or 'main'), safe='')}/{inside}"


def _in_bucket(path: str) -> str:
    """Return the public URL of an object: at AWS by the bucket's own host, elsewhere below the endpoint."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return f"{endpoint.rstrip('/')}/{path}"
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    host = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    bucket, _, key = path.partition("/")
    return f"https://{host}/{path}" if "." in bucket else f"https://{bucket}.{host}/{key}"


def shown(url: str) -> str:
    """Return a URL as it may be told to anybody: without user, password and query, which may hold a signature."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = host if scheme == "hf" else host.rpartition("@")[2]
    return plain(f"{scheme}{mark}{host}{slash}{path}")


def plain(text: object) -> str:
    """Return a text that came from elsewhere on one line, and not too long."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)[:300]).split())


@dataclass(frozen=True)
class Answer:
    """What a source sends: from byte `start` of the file on, at most `length` bytes, which `read` puts into memory, 0 at the end."""

    start: int
    length: int
    read: Callable[[memoryview], int | None]


class Source:
    """A file at a URL, which is asked for more than once where the connection breaks; `timeout` in seconds."""

    def __init__(self, url: str, size: int) -> None:
        self.timeout = _timeout()
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
                yield Answer(position, self._size - position, file.readinto)
            return
        headers = {"Range": f"bytes={position}-"} if position and self._ranges else {}
        if headers and self._validator:
            headers["If-Range"] = self._validator
        with _opened(self._url, headers, self.timeout) as response:
            start = self._checked(response, position if headers else 0)
            tag = response.headers["ETag"] or ""
            self._validator = tag if re.fullmatch(r'"[!-~]*"', tag) else ""
            plain_body = response.length is not None and not response.chunked
            yield Answer(start, self._size - start, response.fp.readinto1 if plain_body else response.readinto1)

    def _checked(self, response: http.client.HTTPResponse, position: int) -> int:
        """Return the byte that an answer begins with (RFC 9110, 14.4 and 15)."""
        status, headers = response.status, response.headers
        if status in _AGAIN:
            raise BrokenError(f"{status} {plain(response.reason)}", _wait(headers["Retry-After"] or ""))
        if status == 416 and position:
            self._ranges = False
            raise BrokenError("it has not as many bytes as it should")
        if status not in (200, 206):
            raise RefusedError(f"{status} {plain(response.reason)}")
        if headers["Content-Encoding"] not in (None, "", "identity"):
            raise RefusedError(f"it sends the file packed ({plain(headers['Content-Encoding'])})")
        start, size = 0, response.length
        if status == 206:
            found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", headers["Content-Range"] or "")
            if not found or int(found[1]) != position:
                self._ranges = False
                raise BrokenError("it answers with other bytes than it was asked for")
            start, size = position, None if found[2] == "*" else int(found[2])
        if size not in (None, self._size):
            raise RefusedError(f"it has {size:,} bytes, not {self._size:,}")
        return start


def _timeout() -> float:
    """Return after how many seconds in which nothing came a source has stalled: MLBUNDLE_TIMEOUT, or 30."""
    text = os.environ.get("MLBUNDLE_TIMEOUT", "")
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d+)?", text) and float(text) else 30.0


def _wait(text: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0


def _opened_file(url: str, size: int) -> io.FileIO:
    host, slash, path = url.removeprefix("file://").partition("/")
    if host not in ("", "localhost"):
        raise RefusedError("it is on another host")
    path = urllib.request.url2pathname(slash + path)
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_size != size:
            raise RefusedError(f"it is no file of {size:,} bytes")
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise RefusedError(error.strerror or "it cannot be read") from None


def explained(error: BaseException) -> BaseException:
    """Return what went wrong with a source, in words that hold nothing secret."""
    if isinstance(error, (RefusedError, BrokenError)):
        return error
    if isinstance(error, http.client.HTTPException):
        return BrokenError(f"its answer is no HTTP ({type(error).__name__})")
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(f"its certificate is not trusted: {plain(error.verify_message)}")
    if isinstance(error, socket.gaierror):
        return RefusedError("there is no such host")
    if isinstance(error, TimeoutError):
        return BrokenError("it does not answer")
    if isinstance(error, OSError):
        return BrokenError(plain(error.strerror or error))
    return RefusedError("it leads to an address that is none") if isinstance(error, ValueError) else error


def _opened(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """Ask for a URL, along its redirects, and return the answer, whatever its status.

    What proves who asks goes to the host that it is for alone. Raises RefusedError, OSError, http.client.HTTPException.
    """
    opener = _opener()
    proof = ("", "")
    for _ in range(_MOST_REDIRECTS):
        secret = proof[1] if proof[0] and url.startswith(proof[0]) else _hub_secret(url)
        response = _ask(opener, url, {**headers, **({"Authorization": secret} if secret else {})}, timeout)
        if response.status in (301, 302, 303, 307, 308) and response.headers["Location"]:
            response.close()
            url = _next(url, response.headers["Location"])
        elif response.status == 401 and not proof[0] and "/blobs/sha256:" in url:
            response.close()
            proof = (url.partition("/v2/")[0] + "/v2/", _registry_secret(opener, url, response.headers["WWW-Authenticate"], timeout))
        else:
            return response
    raise RefusedError("too many redirects")


def _next(url: str, location: str) -> str:
    """Return where a redirect leads: never from https to anything else, nor to a file."""
    target = urljoin(url, quote(location, safe=_SAFE))
    scheme = target.partition("://")[0]
    if scheme != "https" and not (scheme == "http" and url.startswith("http://")):
        raise RefusedError(f"it redirects to {shown(target)}, which is not https")
    if "@" in urlsplit(target).netloc:
        raise RefusedError("it redirects to an address with a user or password")
    return target


def _ask(opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "mlbundle", "Accept": "*/*", **headers})  # noqa: S310
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else RefusedError(plain(error.reason)) from None
    if response is None:
        raise RefusedError("the proxy is of a kind that is not spoken here")
    assert isinstance(response, http.client.HTTPResponse)  # noqa: S101 - the opener has no other handlers
    return response


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http and https with the environment's proxies; it follows no redirect and raises for no status."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(context=_trust())):
        opener.add_handler(handler)
    return opener


def _trust() -> ssl.SSLContext:
    """Return what certificates are checked by.

    An application frozen elsewhere brings an OpenSSL that may look into a folder that this system has not.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or ""
    if os.path.exists(bundle):
        folder = os.path.isdir(bundle)
        return ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath or context.cert_store_stats()["x509"]):
        found = next(filter(os.path.exists, _CERTIFICATES), None)
        with contextlib.suppress(ImportError):
            found = found or importlib.import_module("certifi").where()
        if found:
            context.load_verify_locations(found)
    return context


def _is_private(url: str) -> bool:
    """Say whether what is sent to a URL is read by nobody on the way."""
    return url.startswith("https://") or bool(_LOOPBACK.fullmatch(urlsplit(url).netloc))


def _hub_secret(url: str) -> str:
    """Return the header that proves to the hub who asks; empty for every other host, and where there is no token."""
    if not url.startswith(_hub() + "/") or not _is_private(url):
        return ""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise RefusedError("HF_HUB_OFFLINE is set")
    token = os.environ.get("HF_TOKEN")
    if not token:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
        token = _text(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token"))
    return f"Bearer {token.strip()}" if re.fullmatch(r"[!-~]+", token.strip()) else ""


def _text(path: str) -> str:
    """Return a small file's text, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_LONGEST_TOKEN)
    except (OSError, ValueError):
        return ""


def _registry_secret(opener: urllib.request.OpenerDirector, url: str, challenge: str | None, timeout: float) -> str:
    """Return the header that a registry asks for (distribution project, "Token authentication"; RFC 9110, 11.6.1)."""
    kind, _, rest = (challenge or "").strip().partition(" ")
    basic = _docker_secret(urlsplit(url).netloc) if _is_private(url) else ""
    if kind.lower() == "basic" and basic:
        return basic
    given = {name.lower(): value for name, value in re.findall(r'(\w+)="([^"]*)"', rest)}
    realm = given.get("realm", "")
    if kind.lower() != "bearer" or not (realm.startswith("https://") or (url.startswith("http://") and realm.startswith("http://"))):
        raise RefusedError("401: it wants a user and a password")
    wanted = {name: given[name] for name in ("service", "scope") if name in given}
    address = quote(realm, safe=_SAFE) + ("&" if "?" in realm else "?") + urlencode(wanted)
    with _ask(opener, address, {"Authorization": basic} if basic and _is_private(address) else {}, timeout) as answer:
        text = answer.read(_LONGEST_TOKEN)
    try:
        body = json.loads(text)
        token = body.get("token") or body["access_token"]
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise RefusedError(f"{answer.status}: it gives no token") from None
    return f"Bearer {plain(token)}"


def _docker_secret(registry: str) -> str:
    """Return what `docker login` wrote down for a registry, as a header; empty where it wrote nothing, or into a helper's keeping."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    names = (registry, f"https://{registry}", *(("https://index.docker.io/v1/",) if registry == "registry-1.docker.io" else ()))
    try:
        known = json.loads(_text(os.path.join(folder, "config.json")))["auths"]
        found = next(str(known[name]["auth"]) for name in names if known.get(name, {}).get("auth"))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
        return ""
    return f"Basic {found}" if re.fullmatch(r"[\w+/=-]+", found, re.ASCII) else ""
