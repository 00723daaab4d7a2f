"""One comment of ours in the conversation on a pull request or merge request, over the forge's REST API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.printable import printable

_PAGE = 100
"""Comments a page: the most that GitHub and GitLab give."""
_PAGES = 100
_SECONDS = 30
_LONGEST_REASON = 10_000
"""Bytes of an answer that are read for the reason of a refusal."""
_LONGEST_SAID = 200
"""Characters of the reason that are told."""
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class ForgeError(MlbundleError):
    """The forge cannot be reached, or answered with a fault."""


class RefusedError(ForgeError):
    """The forge does not let this token do that: a fork's may only read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Where comments are listed and made, where one of them is (`{id}`), the method that changes it, and the headers with the token.

    `ours` tells whether this token wrote a comment: anybody may write one that begins as ours do, and change it afterwards.
    """

    comments: str
    comment: str
    method: str
    headers: Mapping[str, str]
    ours: Callable[[Mapping[str, Any]], bool]

    def publish(self, mark: str, body: str) -> None:
        """Change our comment that begins with `mark`, or make one; raises RefusedError, ForgeError."""
        marked = (each for each in self._all() if str(each.get("body", "")).startswith(mark))
        former = next((each["id"] for each in marked if self.ours(each)), None)
        method, url = ("POST", self.comments) if former is None else (self.method, self.comment.format(id=former))
        ask(method, url, self.headers, {"body": body})

    def _all(self) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            comments = ask("GET", f"{self.comments}?per_page={_PAGE}&page={page}", self.headers)
            if not (isinstance(comments, list) and all(isinstance(each, dict) for each in comments)):
                raise ForgeError(f"GET {self.comments}: what is answered is no list of comments")
            yield from comments
            if len(comments) < _PAGE:
                return


def ask(method: str, url: str, headers: Mapping[str, str], document: Mapping[str, Any] | None = None) -> Any:
    """Return the document that the forge answers to one; raises RefusedError, ForgeError."""
    answer = call(method, url, headers, None if document is None else json.dumps(document).encode())
    try:
        return json.loads(answer)
    except ValueError as error:
        raise ForgeError(f"{method} {url}: what is answered is no JSON") from error


def call(method: str, url: str, headers: Mapping[str, str], data: bytes | None = None) -> bytes:
    """Return what the forge answers; raises RefusedError, ForgeError. A redirection elsewhere does not take the headers along."""
    if not url.startswith(("https://", "http://")):
        raise ForgeError(f"{url}: is no address of a forge's API")
    request = Request(url, data=data, method=method)  # noqa: S310
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return bytes(answer.read())
    except HTTPError as error:
        said = _said(error)
        fault = RefusedError if error.code in _REFUSALS and not _limited(error, said) else ForgeError
        raise fault(f"{method} {url}: {error.code} {printable(error.reason)}{said and f': {said}'}") from error
    except ValueError:  # it would show the headers
        raise ForgeError(f"{method} {url}: the token or the address has characters that a request cannot have") from None
    except (URLError, OSError, HTTPException) as error:
        raise ForgeError(f"{method} {url}: {printable(str(getattr(error, 'reason', error)))}") from error


def _said(error: HTTPError) -> str:
    """Return the reason that the forge gives, empty where it gives none."""
    try:
        with error:
            document = json.loads(error.read(_LONGEST_REASON))
        return printable(str(document.get("message") or document.get("error") or ""))[:_LONGEST_SAID]
    except (ValueError, AttributeError, OSError, HTTPException):
        return ""


def _limited(error: HTTPError, said: str) -> bool:
    """Return whether there were too many requests, which GitHub answers with 403 as well: `Rate limits for the REST API` in its docs."""
    return error.headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in error.headers or "rate limit" in said.lower()
