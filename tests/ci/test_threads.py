"""The one comment of ours in a conversation, on a forge on this machine."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Iterator

import pytest
from forge import Forge, serving

from hatch_mlbundle.ci.threads import ForgeError, RefusedError, Thread, call
from hatch_mlbundle.reports.markdown_parts import marker

MARK = marker("bundle")
PATH = "/repos/owner/app/issues/7/comments"


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as running:
        yield running


def thread(forge: Forge) -> Thread:
    return Thread(
        comments=f"{forge.url}{PATH}",
        comment=f"{forge.url}/repos/owner/app/issues/comments/{{id}}",
        method="PATCH",
        headers={"Token": "t"},
        ours=lambda each: each.get("user") == {"login": forge.login},
    )


def test_the_first_comment_is_made_and_the_next_changes_it(forge: Forge) -> None:
    thread(forge).publish(MARK, f"{MARK}\n\none")
    thread(forge).publish(MARK, f"{MARK}\n\ntwo")
    assert [each["body"] for each in forge.comments] == [f"{MARK}\n\ntwo"]
    assert forge.methods() == ["GET", "POST", "GET", "PATCH"]
    assert {headers["Token"] for _, _, headers, _ in forge.requests} == {"t"}


@pytest.mark.parametrize("count", [99, 100, 101, 250])
def test_ours_is_found_on_whatever_page(forge: Forge, count: int) -> None:
    forge.comments = [{"id": number, "body": f"> {MARK}\nwhat is that?"} for number in range(count)]
    forge.comments.insert(5, {"id": 991, "body": marker("bundle 2")})
    forge.comments.insert(6, {"id": 992, "body": f"{MARK}\n\nof another", "user": {"login": "another"}})
    forge.comments.append({"id": 990, "body": f"{MARK}\n\nold", "user": {"login": forge.login}})
    thread(forge).publish(MARK, f"{MARK}\n\nnew")
    assert [each["id"] for each in forge.comments if "new" in each["body"]] == [990]
    assert len(forge.comments) == count + 3
    assert forge.requests[-1][:2] == ("PATCH", "/repos/owner/app/issues/comments/990")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_may_not_is_told_apart(forge: Forge, status: int) -> None:
    forge.refused = {"POST": status}
    with pytest.raises(RefusedError, match=f"POST {forge.url}{PATH}: {status} "):
        thread(forge).publish(MARK, MARK)


@pytest.mark.parametrize(
    "refusal",
    [{"X-RateLimit-Remaining": "0"}, {"Retry-After": "60"}, {"message": "You have exceeded a secondary rate limit."}],
)
def test_too_many_requests_are_no_refusal(forge: Forge, refusal: dict[str, str]) -> None:
    forge.refused, forge.refusal = {"POST": 403}, refusal
    with pytest.raises(ForgeError, match=f": 403 Forbidden: {refusal.get('message', 'refused')}") as caught:
        thread(forge).publish(MARK, MARK)
    assert not isinstance(caught.value, RefusedError)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_fault_of_the_forge_is_no_refusal(forge: Forge, method: str) -> None:
    forge.refused = {method: 500}
    with pytest.raises(ForgeError, match=": 500 ") as caught:
        thread(forge).publish(MARK, MARK)
    assert not isinstance(caught.value, RefusedError)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "file:///etc/passwd", "nothing"])
def test_what_cannot_be_reached_is_told(url: str) -> None:
    with pytest.raises(ForgeError, match=url):
        call("GET", url, {})


def test_a_token_that_no_header_can_have_is_told_without_it() -> None:
    token = "\n".join(reversed(["line", "s3cret"[::-1]]))
    with pytest.raises(ForgeError, match="the token or the address has characters") as caught:
        call("GET", "http://127.0.0.1:9/x", {"Token": token})
    assert "terc3s" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]", b"no HTTP\r\n\r\n", b""])
def test_an_answer_that_breaks_off_is_told(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"

        def once() -> None:
            with server.accept()[0] as client:
                client.recv(1_000)
                client.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(ForgeError, match=f"GET {url}: "):
            call("GET", url, {})
        thread.join()


def test_an_answer_that_is_no_list_of_comments_is_told(forge: Forge) -> None:
    forge.files[f"{PATH}?per_page=100&page=1"] = b"<html>proxy</html>"
    with pytest.raises(ForgeError, match="is no JSON"):
        thread(forge).publish(MARK, MARK)
    forge.files[f"{PATH}?per_page=100&page=1"] = b'{"message": "gone"}'
    with pytest.raises(ForgeError, match="is no list of comments"):
        thread(forge).publish(MARK, MARK)


def test_the_token_does_not_follow_a_redirection(forge: Forge) -> None:
    with serving() as storage:
        storage.files["/bucket"] = b"archive"
        forge.elsewhere["/download"] = f"{storage.url}/bucket"
        assert call("GET", f"{forge.url}/download", {"Job-Token": "t"}) == b"archive"
        assert [headers for *_, headers, _ in storage.requests if "Job-Token" in headers] == []
    assert forge.requests[0][2]["Job-Token"] == "t"
