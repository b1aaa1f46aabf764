"""Speaks to the page's server as the page does: a token in a header, events as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.spliced import apply

__all__ = ["PageClient"]


class PageClient:
    """`address` as it is printed: with the run, and the token in the fragment."""

    def __init__(self, address: str, token: str | None = None) -> None:
        url, _, fragment = address.partition("#token=")
        self.base, _, self.run_id = url.partition("/runs/")
        self.base = self.base.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token or fragment}"}
        self._http = httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=60)

    async def __aenter__(self) -> PageClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._http.get(path, headers={**self.headers, **headers})

    async def post(self, deed: str, content: bytes = b"{}", **headers: str) -> httpx.Response:
        sent = {**self.headers, "Content-Type": "application/json", **headers}
        return await self._http.post(f"/api/runs/{self.run_id}/{deed}", content=content, headers=sent)

    async def history(self) -> dict[str, Any]:
        answer = await self.get(f"/api/runs/{self.run_id}/history")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    @asynccontextmanager
    async def listening(self, known: int) -> AsyncIterator[AsyncIterator[tuple[str, int | None, dict[str, Any]]]]:
        """(event, id, data) as they come, since the look `known`."""
        headers = {**self.headers, "Last-Event-ID": str(known)}
        path = f"/api/runs/{self.run_id}/events"
        async with self._http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield _events(answer.aiter_lines())

    async def follow(self, document: dict[str, Any], looks: int | None = None) -> dict[str, Any]:
        """The document with what came in so many looks; None: up to the end of the run."""
        async with self.listening(document["seq"]) as events:
            async for kind, number, data in events:
                document = await self.history() if kind == "again" else apply(document, kind, data)
                if looks is not None and number is not None and (looks := looks - 1) <= 0:
                    break
        return document


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, int | None, dict[str, Any]]]:
    now: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            now[name] = value
        elif "event" in now:
            yield now["event"], int(now["id"]) if "id" in now else None, json.loads(now["data"])
            now = {}
        else:
            now = {}
