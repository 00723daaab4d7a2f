"""One comment of ours in the conversation on a pull request or merge request, over the forge's REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from hatch_mlbundle.errors import MlbundleError

_PAGE = 100
"""Comments a page: the most that GitHub and GitLab give."""
_PAGES = 100
_SECONDS = 30
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class ForgeError(MlbundleError):
    """The forge cannot be reached, or answered with a fault."""


class RefusedError(ForgeError):
    """The forge does not let this token do that: a fork's may only read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Where comments are listed and made, where one of them is (`{id}`), the method that changes it, and the headers with the token."""

    comments: str
    comment: str
    method: str
    headers: Mapping[str, str]

    def publish(self, mark: str, body: str) -> None:
        """Change the comment that begins with `mark`, or make one; raises RefusedError, ForgeError."""
        former = next((each["id"] for each in self._all() if str(each.get("body", "")).startswith(mark)), None)
        if former is None:
            self._call("POST", self.comments, body)
        else:
            self._call(self.method, self.comment.format(id=former), body)

    def _all(self) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            comments = self._call("GET", f"{self.comments}?per_page={_PAGE}&page={page}")
            if not (isinstance(comments, list) and all(isinstance(each, dict) for each in comments)):
                raise ForgeError(f"GET {self.comments}: what is answered is no list of comments")
            yield from comments
            if len(comments) < _PAGE:
                return

    def _call(self, method: str, url: str, body: str | None = None) -> Any:
        data = None if body is None else json.dumps({"body": body}).encode()
        answer = call(method, url, self.headers, data)
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
        error.close()
        fault = RefusedError if error.code in _REFUSALS else ForgeError
        raise fault(f"{method} {url}: {error.code} {error.reason}") from error
    except (URLError, OSError) as error:
        raise ForgeError(f"{method} {url}: {getattr(error, 'reason', error)}") from error
