"""The demo shop's API for partners: OAuth, orders by page, GraphQL, uploads and jobs. No I/O.

Like the shop it keeps no state: an access token, the signature of an upload and the number of
a job contain the time of their creation and a proof that this shop made them. So a token
expires and a job finishes by the clock alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from loadgen.target.request_response import Answer, Request, json_answer, wrong

__all__ = ["JOB_S", "MAX_UPLOAD_BYTES", "ORDERS", "TOKEN_S", "Api"]

TOKEN_S: Final = 2.0
"""How long an access token is valid: short, so that a journey has to refresh it."""
JOB_S: Final = 1.0
"""How long the job of an upload takes."""
ORDERS: Final = 45
PAGE: Final = 20
MAX_UPLOAD_BYTES: Final = 16 * 1024 * 1024

Prove = Callable[[str, str], str]


class _Query(msgspec.Struct):
    query: str
    variables: dict[str, Any] = {}


class Api:
    """The handlers, by route pattern and method.

    Args:
        prove: (purpose, text) -> a proof that only this shop can make.
        now_s: a monotonic clock.
    """

    def __init__(self, prove: Prove, now_s: Callable[[], float]) -> None:
        self._prove, self._now_s = prove, now_s
        self._made = 0
        self.routes: Mapping[str, Mapping[str, Callable[[Request], Answer]]] = {
            "/oauth/token": {"POST": self._token},
            "/api/orders": {"GET": self._orders},
            "/graphql": {"POST": self._graphql},
            "/uploads/{id}": {"PUT": self._upload},
            "/jobs/{id}": {"GET": self._job},
        }

    # -- OAuth ---------------------------------------------------------------------------------

    def _token(self, request: Request) -> Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
        grant = form.get("grant_type")
        if grant == "password" and form.get("username") and form.get("password"):
            number = self._number()
        elif grant == "refresh_token" and self._is_proved("refresh", form.get("refresh_token", "")):
            number = form["refresh_token"].partition(".")[0]
        else:
            return json_answer(400, {"error": "invalid_grant"})
        access = self._stamped("access", number, TOKEN_S)
        refresh = f"{number}.{self._prove('refresh', number)}"
        return json_answer(
            200,
            {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": TOKEN_S},
        )

    def _orders(self, request: Request) -> Answer:
        if not self._is_fresh("access", request.token):
            return wrong(401, "the token is invalid or has expired", _INVALID_TOKEN)
        asked = parse_qs(request.query).get("cursor", ["0"])[0]
        if not asked.isdecimal() or int(asked) > ORDERS:
            return wrong(400, "no such cursor")
        first = int(asked)
        items = [{"id": n, "total_cents": 500 + n * 37 % 9500} for n in range(first + 1, min(first + PAGE, ORDERS) + 1)]
        following = first + PAGE
        return json_answer(200, {"items": items, "next": str(following) if following < ORDERS else None})

    # -- GraphQL, uploads, jobs --------------------------------------------------------------------

    def _graphql(self, request: Request) -> Answer:
        try:
            asked = _read_query(request.body)
        except msgspec.MsgspecError as error:
            return json_answer(400, {"errors": [{"message": str(error)}]})
        if "createImport" not in asked.query:
            return _failed("no such field", "query")
        if not asked.variables.get("name"):
            return _failed("name is missing", "createImport")
        number = self._number()
        url = f"/uploads/{number}?signature={self._prove('upload', number)}"
        return json_answer(200, {"data": {"createImport": {"id": number, "uploadUrl": url}}})

    def _upload(self, request: Request) -> Answer:
        number = request.path.rpartition("/")[2]
        if parse_qs(request.query).get("signature", [""])[0] != self._prove("upload", number):
            return wrong(403, "the signature is not that of this upload")
        job = self._stamped("job", number, JOB_S)
        return json_answer(202, {"job": job, "bytes": len(request.body)})

    def _job(self, request: Request) -> Answer:
        job = request.path.rpartition("/")[2]
        if not self._is_stamped("job", job):
            return wrong(404, "no such job")
        return json_answer(200, {"state": "running" if self._is_fresh("job", job) else "done"})

    # -- proofs --------------------------------------------------------------------------------

    def _number(self) -> str:
        self._made += 1
        return str(self._made)

    def _stamped(self, what: str, number: str, for_s: float) -> str:
        """Return a token NUMBER.UNTIL.PROOF that is valid for `for_s` seconds. UNTIL is the expiry time in ms of our
        clock; PROOF shows that this shop made the token for the purpose `what`.
        """
        text = f"{number}.{round((self._now_s() + for_s) * 1000)}"
        return f"{text}.{self._prove(what, text)}"

    def _is_stamped(self, what: str, stamped: str) -> bool:
        return self._is_proved(what, stamped) and stamped.count(".") == 2

    def _is_proved(self, what: str, text: str) -> bool:
        claim, _, proof = text.rpartition(".")
        return bool(claim) and proof == self._prove(what, claim)

    def _is_fresh(self, what: str, stamped: str) -> bool:
        return self._is_stamped(what, stamped) and int(stamped.split(".")[1]) > self._now_s() * 1000


def _failed(message: str, field: str) -> Answer:
    """Return the answer to a failed GraphQL request: status 200 with `errors` in the body."""
    return json_answer(200, {"data": None, "errors": [{"message": message, "path": [field]}]})


_INVALID_TOKEN: Final = b'WWW-Authenticate: Bearer error="invalid_token"\r\n'
_read_query = msgspec.json.Decoder(_Query).decode
