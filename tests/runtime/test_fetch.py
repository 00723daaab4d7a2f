"""Fetching a file whose hash is known: from good servers, from broken ones, and from hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import resource
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hatch_mlbundle.runtime.models import fetch as fetching
from hatch_mlbundle.runtime.models.descriptor import ModelFile
from hatch_mlbundle.runtime.models.errors import ModelUnavailableError
from hatch_mlbundle.runtime.models.fetch import fetch
from tests.webserver import Answer, Handler, files, in_turn, reply, serving

BODY = random.Random(7).randbytes(700_001)
PATH = "/blip/model.bin"
good = files({PATH: BODY})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("HF_", "MLBUNDLE_OFFLINE", "MLBUNDLE_TIMEOUT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "_PAUSE", 0.01)


class Target:
    """A file that is fetched to, with what was told of it."""

    def __init__(self, path: Path, body: bytes = BODY) -> None:
        self.path = path
        self.file = ModelFile(path="model.bin", size=len(body), sha256=hashlib.sha256(body).hexdigest())
        self.told: list[int] = []

    def fetch(self, *urls: str) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fetch(self.file, urls, descriptor, self.told.append)
        finally:
            os.close(descriptor)
        assert sum(self.told) == self.file.size

    def fails(self, *urls: str) -> str:
        """Return the one line that it fails with."""
        with pytest.raises(ModelUnavailableError) as caught:
            self.fetch(*urls)
        assert sum(self.told) == self.path.stat().st_size
        self.told.clear()
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(urls[0] if urls else "?", "URL") if len(urls) < 2 else str(caught.value)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "part")


def test_a_whole_file(target: Target) -> None:
    with serving(good) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert server.headers[0]["Range"] is None
    assert server.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1])
def test_files_of_sizes_that_matter(tmp_path: Path, size: int) -> None:
    target = Target(tmp_path / "part", BODY[:size])
    with serving(files({PATH: BODY[:size]})) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY[:size]
    assert len(server.asked) == (size > 0)


def test_a_file_that_is_there_already_is_only_checked(target: Target) -> None:
    target.path.write_bytes(BODY)
    with serving(good) as server:
        target.fetch(server.url + PATH)
    assert not server.asked
    assert target.path.read_bytes() == BODY


@pytest.mark.parametrize("kept", [1, 1000, len(BODY) - 1])
def test_what_an_earlier_try_left_is_gone_on_from(target: Target, kept: int) -> None:
    target.path.write_bytes(BODY[:kept])
    with serving(good) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert [headers["Range"] for headers in server.headers] == [f"bytes={kept}-"]


@pytest.mark.parametrize("left", [b"x" * 1000, BODY[:999] + b"\0", b"\0" * len(BODY), BODY + b"more"])
def test_what_an_earlier_try_left_is_wrong(target: Target, left: bytes) -> None:
    target.path.write_bytes(left)
    with serving(good) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert len(server.asked) == (2 if len(left) < len(BODY) else 1)


def test_a_server_without_ranges_begins_anew(target: Target) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(lambda handler: reply(handler, 200, {}, BODY)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert target.told.count(-1000) == 1


def cut(after: int) -> Answer:
    """Answer as a good server does, and break the connection after some bytes of the body."""

    def answer(handler: Handler) -> None:
        write, left = handler.wfile.write, [after]
        handler.wfile.flush()

        def limited(data: bytes) -> int:
            if data[:5] == b"HTTP/":
                return write(data)
            part, left[0] = data[: left[0]], max(left[0] - len(data), 0)
            return write(part)

        handler.wfile.write = limited  # type: ignore[method-assign, assignment]
        good(handler)

    return answer


@pytest.mark.parametrize("after", [0, 1, 1000, 1 << 18, len(BODY) - 1])
def test_a_broken_connection_is_resumed(target: Target, after: int) -> None:
    with serving(in_turn(cut(after), good)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert [headers["Range"] for headers in server.headers] == [None, f"bytes={after}-" if after else None]
    assert server.headers[1]["If-Range"] == (f'"{hashlib.md5(BODY).hexdigest()}"' if after else None)


def test_a_connection_that_breaks_again_and_again(target: Target) -> None:
    with serving(cut(len(BODY) // 10)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert len(server.asked) == 11


def test_a_file_that_changed_in_between_is_not_mixed(target: Target) -> None:
    old = bytes(reversed(BODY))
    first = in_turn(lambda handler: reply(handler, 200, {"ETag": '"old"', "Content-Length": len(BODY)}, old[:5000]), good)
    with serving(first) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert server.headers[1]["If-Range"] == '"old"'
    assert len(server.asked) == 2


def test_parts_of_two_mirrors_that_do_not_fit_are_fetched_anew(target: Target) -> None:
    def wrong(handler: Handler) -> None:
        reply(handler, 200, {"Content-Length": len(BODY)}, b"x" * 5000)

    with serving(in_turn(wrong, lambda handler: reply(handler, 404))) as first, serving(good) as second:
        target.fetch(first.url + PATH, second.url + PATH)
    assert target.path.read_bytes() == BODY
    assert [headers["Range"] for headers in second.headers] == ["bytes=5000-", None]


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Answer:
    def answer(handler: Handler) -> None:
        reply(handler, 200, {"Content-Length": None, "Transfer-Encoding": "chunked"})
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        handler.wfile.write(end)

    return answer


def test_an_answer_in_chunks(target: Target) -> None:
    with serving(chunked(BODY[:5], BODY[5:300_000], BODY[300_000:])) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY


def test_an_answer_that_ends_with_the_connection(target: Target) -> None:
    with serving(lambda handler: reply(handler, 200, {"Content-Length": None}, BODY)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY


def partial(content_range: str | None, body: bytes = BODY[1000:]) -> Answer:
    """Answer with 206 what begins somewhere else, or nobody knows where."""

    def answer(handler: Handler) -> None:
        if handler.headers["Range"] is None:
            return good(handler)
        return reply(handler, 206, {"Content-Range": content_range} if content_range else {}, body)

    return answer


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes",
        f"bytes 0-{len(BODY) - 1}/{len(BODY)}",
        f"bytes 999-{len(BODY) - 1}/{len(BODY)}",
        "bytes */700001",
        "items 1000-1/2",
    ],
)
def test_a_wrong_range_is_not_believed(target: Target, content_range: str | None) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(partial(content_range)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_part_that_comes_with_200(target: Target) -> None:
    def answer(handler: Handler) -> None:
        reply(handler, 200, {"Content-Range": f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"}, BODY[1000:])

    target.path.write_bytes(BODY[:1000])
    with serving(answer) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_range_that_lies(target: Target) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(partial(f"bytes 1000-{len(BODY) - 1}/{len(BODY)}", b"x" * (len(BODY) - 1000))) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_range_of_a_longer_file(target: Target) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(partial(f"bytes 1000-{len(BODY)}/{len(BODY) + 1}")) as server:
        assert target.fails(server.url + PATH) == "'model.bin' cannot be fetched: URL: it has 700,002 bytes, not 700,001"
    assert target.path.read_bytes() == BODY[:1000]


def test_a_range_that_cannot_be(target: Target) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(in_turn(lambda handler: reply(handler, 416, {"Content-Range": "bytes */500"}), good)) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY


@pytest.mark.parametrize(("status", "wait"), [(408, 0), (429, 1), (500, 0), (502, 0), (503, 0), (504, 0)])
def test_a_server_that_is_busy_is_asked_again(target: Target, status: int, wait: int) -> None:
    start = time.monotonic()
    with serving(in_turn(lambda handler: reply(handler, status, {"Retry-After": wait}, b"busy"), good)) as server:
        target.fetch(server.url + PATH)
    assert time.monotonic() - start >= wait
    assert len(server.asked) == 2


@pytest.mark.parametrize("after", ["3600", "9" * 400, "-1", "nan", "Wed, 21 Oct 2099 07:28:00 GMT", "\x00"])
def test_a_server_that_is_busy_for_long_is_left_alone(target: Target, after: str) -> None:
    start = time.monotonic()
    with serving(lambda handler: reply(handler, 503, {"Retry-After": after})) as busy, serving(good) as server:
        target.fetch(busy.url + PATH, server.url + PATH)
    assert time.monotonic() - start < 3
    assert len(busy.asked) <= 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(target: Target, status: int) -> None:
    target.path.write_bytes(BODY[:1000])
    with serving(good) as server, serving(lambda handler: reply(handler, status, {"Location": server.url + PATH}, b"elsewhere")) as first:
        target.fetch(first.url + "/x")
    assert target.path.read_bytes() == BODY
    assert server.headers[0]["Range"] == "bytes=1000-"


def test_a_redirect_may_be_relative_and_hold_blanks(target: Target) -> None:
    answer = in_turn(lambda handler: reply(handler, 302, {"Location": "a b/c?d=1"}), files({"/x/a%20b/c?d=1": BODY}))
    with serving(answer) as server:
        target.fetch(server.url + "/x/y")
    assert server.paths == ["/x/y", "/x/a%20b/c?d=1"]


# What hostile servers do


def endless(handler: Handler) -> None:
    with suppress(OSError):
        while True:
            handler.wfile.write(b"\0" * (1 << 16))


def with_headers(status: int, headers: dict[str, object], body: Callable[[Handler], None] = endless) -> Answer:
    def answer(handler: Handler) -> None:
        reply(handler, status, {"Content-Length": None, **headers})
        body(handler)

    return answer


def many_headers(handler: Handler) -> None:
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            handler.wfile.write(b"X-%d: %b\r\n" % (number, b"y" * 1000))


def long_header(handler: Handler) -> None:
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        endless(handler)


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"220 ftp.example.com ready\r\n")


def redirect(location: str) -> Answer:
    return lambda handler: reply(handler, 302, {"Location": location})


def around(handler: Handler) -> None:
    reply(handler, 302, {"Location": handler.path + "x"})


HOSTILE: dict[str, tuple[Answer, str]] = {
    "endless": (with_headers(200, {}), "gives other bytes"),
    "endless, of the right length": (with_headers(200, {"Content-Length": len(BODY)}), "gives other bytes"),
    "too long": (lambda handler: reply(handler, 200, {}, BODY + b"x"), "it has 700,002 bytes, not 700,001"),
    "too short": (lambda handler: reply(handler, 200, {}, BODY[:-1]), "it has 700,000 bytes, not 700,001"),
    "a length that is none": (lambda handler: reply(handler, 200, {"Content-Length": "-5"}, b"y" * len(BODY)), "gives other bytes"),
    "wrong bytes": (lambda handler: reply(handler, 200, {}, bytes(len(BODY))), "gives other bytes than it should (SHA-256 differs)"),
    "a page instead": (lambda handler: reply(handler, 200, {"Content-Type": "text/html"}, b"<html>"), "it has 6 bytes"),
    "gzip": (lambda handler: reply(handler, 200, {"Content-Encoding": "gzip"}, gzip.compress(BODY)), "sends the file packed (gzip)"),
    "gzip bomb": (with_headers(200, {"Content-Encoding": "gzip"}), "sends the file packed (gzip)"),
    "chunk of a length that is none": (chunked(end=b"zz\r\n"), "IncompleteRead"),
    "endless chunk": (chunked(end=b"ffffffffff\r\n" + bytes(1 << 20)), "gives other bytes"),
    "chunked, too short": (chunked(BODY[:9]), "it ends after 9 of 700,001 bytes"),
    "a part nobody asked for": (lambda handler: reply(handler, 206, {"Content-Range": "bytes 0-9/10"}, b"x" * 10), "it has 10 bytes"),
    "416 without a range": (lambda handler: reply(handler, 416), "416"),
    "204": (lambda handler: reply(handler, 204), "204 No Content"),
    "redirect without a place": (lambda handler: reply(handler, 302), "302 Found"),
    "redirect around": (around, "redirects too often"),
    "redirect to a file": (redirect("file:///etc/passwd"), "redirects to file:///etc/passwd, which is not https"),
    "redirect to ftp": (redirect("ftp://127.0.0.1/x"), "which is not https"),
    "redirect to a password": (redirect("https://a:secret@127.0.0.1/x"), "redirects to https://127.0.0.1/x"),
    "redirect to nowhere": (redirect("http://[::1/x"), "leads to an address that is none"),
    "redirect to no port": (redirect("http://127.0.0.1:99x/"), "(InvalidURL)"),
    "redirect with an endless body": (with_headers(302, {"Location": "file:///x"}), "which is not https"),
    "many headers": (many_headers, "(HTTPException)"),
    "long header": (long_header, "(LineTooLong)"),
    "no HTTP": (no_http, "(BadStatusLine)"),
    "nothing": (lambda handler: None, "Remote end closed connection"),
    "a reason with control characters": (lambda handler: handler.wfile.write(b"HTTP/1.1 404 \x1b[2Jgo\x07ne\r\n\r\n"), "404 [2Jgo ne"),
    "it wants a login": (lambda handler: reply(handler, 401, {"WWW-Authenticate": 'Basic realm="x"'}), "401 Unauthorized"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_gives_nothing(target: Target, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, told = HOSTILE[name]
    monkeypatch.setattr(fetching, "_LONGEST_WAIT", 0)
    with serving(answer) as server:
        message = target.fails(f"{server.url}{PATH}?X-Amz-Signature=secret")
        assert told in message
        assert "secret" not in message
    assert len(message) < 400
    left = target.path.read_bytes()
    assert left == BODY[: len(left)]
    with serving(good) as server:
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY


@pytest.mark.parametrize("name", ["endless", "wrong bytes", "gzip bomb", "redirect to a file", "long header"])
def test_the_next_mirror_is_taken(target: Target, name: str) -> None:
    with serving(HOSTILE[name][0]) as first, serving(good) as second:
        target.fetch(first.url + PATH, second.url + PATH)
    assert target.path.read_bytes() == BODY


def test_an_endless_answer_is_not_read_further(target: Target) -> None:
    sent = [0]

    def body(handler: Handler) -> None:
        with suppress(OSError):
            while sent[0] < 1 << 28:
                handler.wfile.write(b"\0" * (1 << 16))
                sent[0] += 1 << 16

    tracemalloc.start()
    with serving(with_headers(200, {}, body)) as server:
        target.fails(server.url + PATH)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent[0] < 1 << 26
    assert peak < 5e6


def drip(handler: Handler) -> None:
    with suppress(OSError):
        for _ in range(200):
            handler.wfile.write(b"\0")
            time.sleep(0.1)


def dripping_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    drip(handler)


@pytest.mark.parametrize(
    "answer",
    [
        with_headers(200, {"Content-Length": len(BODY)}, drip),
        with_headers(200, {"Content-Length": len(BODY)}, lambda handler: time.sleep(5)),
        lambda handler: time.sleep(5),
        dripping_headers,
    ],
    ids=["slow drip", "silence after the headers", "silence", "headers in a slow drip"],
)
def test_a_source_that_stalls_is_given_up(target: Target, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setenv("MLBUNDLE_TIMEOUT", "1")
    monkeypatch.setattr(fetching, "_TRIES", 1)
    start = time.monotonic()
    with serving(answer) as stalled, serving(good) as server:
        target.fetch(stalled.url + PATH, server.url + PATH)
    assert time.monotonic() - start < 6
    assert target.path.read_bytes() == BODY


def test_threads_end(target: Target) -> None:
    before = threading.active_count()
    with serving(endless) as server:
        target.fails(server.url + PATH)
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


# Other sources


def test_a_file(target: Target, tmp_path: Path) -> None:
    source = tmp_path / "a b#ü.bin"
    source.write_bytes(BODY)
    target.path.write_bytes(BODY[:1000])
    target.fetch(source.as_uri())
    assert target.path.read_bytes() == BODY


@pytest.mark.parametrize("kind", ["missing", "folder", "short", "pipe", "wrong"])
def test_a_file_that_is_none(target: Target, tmp_path: Path, kind: str) -> None:
    source = tmp_path / kind
    if kind == "folder":
        source.mkdir()
    elif kind == "pipe":
        os.mkfifo(source)
    elif kind != "missing":
        source.write_bytes(bytes(len(BODY) - (kind == "short")))
    message = target.fails(source.as_uri())
    assert message.removeprefix("'model.bin' cannot be fetched: URL: ") in (
        "No such file or directory",
        "it is no file of 700,001 bytes",
        "it gives other bytes than it should (SHA-256 differs)",
    )


def test_offline_only_files_are_fetched(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBUNDLE_OFFLINE", "1")
    (tmp_path / "there").write_bytes(BODY)
    with serving(good) as server:
        assert target.fails(server.url + PATH) == "'model.bin' cannot be fetched: URL: MLBUNDLE_OFFLINE is set"
        target.fetch(server.url + PATH, (tmp_path / "there").as_uri())
        assert not server.asked
    monkeypatch.setenv("MLBUNDLE_OFFLINE", "0")
    assert "refused" in Target(tmp_path / "other").fails("http://127.0.0.1:9/x")


def test_every_source_is_told_with_what_was_wrong(target: Target) -> None:
    with serving(lambda handler: reply(handler, 403)) as first:
        message = target.fails(first.url + "/x?sig=secret", "http://nowhere.invalid/x", "file:///nowhere")
    assert message == (
        f"'model.bin' cannot be fetched: {first.url}/x: 403 Forbidden; http://nowhere.invalid/x: there is no such host; "
        "file:///nowhere: No such file or directory"
    )
    assert target.fails() == "'model.bin' cannot be fetched: it has no source"


def test_a_full_disk_is_no_fault_of_the_source(target: Target) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(good) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                target.fetch(server.url + PATH, server.url + "/other")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not isinstance(caught.value, ModelUnavailableError)
        assert len(server.asked) == 1
        target.told.clear()
        target.fetch(server.url + PATH)
    assert target.path.read_bytes() == BODY


def test_an_interrupted_fetch_leaves_what_it_has(target: Target) -> None:
    def interrupt(count: int) -> None:
        target.told.append(count)
        if sum(target.told) > 300_000:
            raise KeyboardInterrupt

    descriptor = os.open(target.path, os.O_RDWR | os.O_CREAT, 0o600)
    with serving(good) as server, pytest.raises(KeyboardInterrupt):
        fetch(target.file, [server.url + PATH], descriptor, interrupt)
    os.close(descriptor)
    left = target.path.read_bytes()
    assert 300_000 < len(left) < len(BODY)
    assert left == BODY[: len(left)]
