"""One comment on a pull request or merge request, updated on each push: its text, its place, its requests.

The comment begins with a hidden mark, by which the next push finds it. A comment is a convenience: without a token or
a pull request nothing is sent, and no failure changes the exit code of a job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

__all__ = ["LONGEST_BYTES", "Place", "body_of", "place_in", "publish"]

LONGEST_BYTES: Final = 8_000
_CUT: Final = "\n\nThe rest is left out here; the job has the whole text.\n"
_PAGES: Final = 10
_PER_PAGE: Final = 100
_PATIENCE_S: Final = 10.0

Send = Callable[[str, str, dict[str, str] | None], Any]
"""Sends (method, path, body) and returns the decoded JSON of the answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the comments of a pull request are: the collection, and how one of them is changed."""

    comments: str
    """URL of the collection of comments."""
    one: str
    """URL of one comment, without the "/" and its id."""
    update: str
    """The method that changes a comment: PATCH at GitHub, PUT at GitLab."""
    headers: Mapping[str, str] = field(repr=False)


def place_in(environ: Mapping[str, str], number: int | None = None) -> Place | str:
    """Return the place of the comment of this job, or why there is none.

    number: the pull request or merge request; None takes it from the job.
    """
    if environ.get("GITHUB_ACTIONS") == "true":
        return _github(environ, number)
    if environ.get("GITLAB_CI") == "true":
        return _gitlab(environ, number)
    return "this is no job of GitHub Actions or GitLab CI"


def _github(environ: Mapping[str, str], number: int | None) -> Place | str:
    number = number or _pull_request(environ.get("GITHUB_EVENT_PATH", ""))
    if not number:
        return "the job has no pull request"
    if not (token := environ.get("GITHUB_TOKEN", "")):
        return "GITHUB_TOKEN is not set; give the step env: GITHUB_TOKEN: ${{ github.token }}"
    server = environ.get("GITHUB_API_URL", "https://api.github.com")
    api = f"{server}/repos/{environ.get('GITHUB_REPOSITORY', '')}/issues"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    return Place(f"{api}/{number}/comments", f"{api}/comments", "PATCH", headers)


def _gitlab(environ: Mapping[str, str], number: int | None) -> Place | str:
    where = number or environ.get("CI_MERGE_REQUEST_IID", "")
    if not where:
        return "the job has no merge request"
    if not (token := environ.get("LOADGEN_GITLAB_TOKEN", "")):
        return "LOADGEN_GITLAB_TOKEN is not set; a project access token with the scope api can write comments"
    project = quote(environ.get("CI_PROJECT_ID", ""), safe="")
    notes = f"{environ.get('CI_API_V4_URL', '')}/projects/{project}/merge_requests/{where}/notes"
    return Place(notes, notes, "PUT", {"PRIVATE-TOKEN": token})


def _pull_request(event: str) -> int:
    """Return the number of the pull request in the file of a job's event; 0 if there is none."""
    try:
        number = json.loads(Path(event).read_text(encoding="utf-8"))["pull_request"]["number"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return number if isinstance(number, int) else 0


def body_of(markdown: str, name: str) -> str:
    """Return the text of the comment: the mark, and as much of the Markdown as fits into 8 kB.

    Folded tables are left out first, the last one first; then lines from the end.
    """
    mark, text = _mark(name), markdown
    room = LONGEST_BYTES - len(mark) - 1
    while len(text.encode()) > room and (folded := list(re.finditer(r"\n*<details>.*?</details>\n?", text, re.DOTALL))):
        text = text[: folded[-1].start()] + text[folded[-1].end() :]
        text = text.removesuffix(_CUT) + _CUT
    if len(text.encode()) > room:
        kept = text.removesuffix(_CUT).encode()[: room - len(_CUT)].decode(errors="ignore")
        text = kept.rpartition("\n")[0] + _CUT
    return f"{mark}\n{text}"


def _mark(name: str) -> str:
    """Return the hidden first line of the comment with this name; a job with two comments needs two names."""
    return f"<!-- loadgen {re.sub('[^A-Za-z0-9_.-]', '-', name)} -->"


def publish(place: Place, body: str, send: Send | None = None) -> str:
    """Update the comment of an earlier push, or write the first one. Return "updated" or "created".

    Raises:
        OSError: the platform cannot be reached, or refused.
    """
    ask = send or _sender(place)
    mark = body.partition("\n")[0]
    for ours in _found(place, mark, ask):
        try:
            ask(place.update, f"{place.one}/{ours}", {"body": body})
        except HTTPError as error:
            if error.code not in (403, 404):  # somebody else's comment with our mark, or one that is gone
                raise
        else:
            return "updated"
    ask("POST", place.comments, {"body": body})
    return "created"


def _found(place: Place, mark: str, ask: Send) -> Iterator[int]:
    for page in range(1, _PAGES + 1):
        comments = ask("GET", f"{place.comments}?per_page={_PER_PAGE}&page={page}", None)
        for comment in comments:
            if str(comment.get("body", "")).partition("\n")[0].strip() == mark:
                yield int(comment["id"])
        if len(comments) < _PER_PAGE:
            return


def _sender(place: Place) -> Send:
    def send(method: str, url: str, body: dict[str, str] | None) -> Any:
        if urlsplit(url).scheme not in ("http", "https"):
            raise URLError(f"not an address of an API: {url[:60]!r}")
        data = None if body is None else json.dumps(body).encode()
        headers = {**place.headers, "Content-Type": "application/json", "User-Agent": "loadgen"}
        request = Request(url, data, headers, method=method)  # noqa: S310  checked above
        with urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    return send
