"""Opens connections of the shop to its database, and creates the schema. Error messages never contain the URL."""

from __future__ import annotations

import os
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from loadgen.errors import UsageError
from loadgen.outside_text import one_line
from loadgen.secret_variable import variable_of
from loadgen.target.database import schema
from loadgen.target.database.settings import SCHEMA, DatabaseConfig
from loadgen.target.request_response import Answer, json_answer

__all__ = ["Connector", "cannot_connect", "create_schema", "failed_answer", "set_index"]

_CONNECT_S: Final = 10
_PREPARED_AFTER: Final = 5
"""psycopg's default: a connection prepares a statement when it runs it for the sixth time."""
_GONE: Final = ("08", "57P")
"""Classes of SQLSTATE: connection exceptions, and a server that shuts down or starts."""
_HELP: Final = "start PostgreSQL, or correct --database; the user needs the right CREATE in the database"


class Connector:
    """Opens connections whose `application_name` is "shop-web", "shop-settle" or "shop-payout".

    Raises:
        UsageError: the URL is invalid, or the secret is not set.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._prepares = config.prepares
        try:
            known = conninfo_to_dict(config.url)
        except psycopg.Error as error:
            raise UsageError(
                "--database: libpq cannot read the URL", hint="write --database postgresql://shop@127.0.0.1:5432/shop"
            ) from error
        if "password" in known:
            raise UsageError("--database: the URL contains a password", hint="use --database-secret NAME")
        more: dict[str, Any] = {"connect_timeout": _CONNECT_S}
        if config.secret:
            password = os.environ.get(variable_of(config.secret))
            if not password:
                raise UsageError(
                    f'--database-secret: the secret "{config.secret}" is not set',
                    hint=f"set {variable_of(config.secret)}",
                )
            more["password"] = password
        self._conninfo = make_conninfo(config.url, **more)

    async def connect(self, name: str) -> AsyncConnection[Any]:
        """Return a new connection, in autocommit.

        Raises:
            psycopg.Error: the server refuses it, or cannot be reached in 10 s.
        """
        return await AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            prepare_threshold=_PREPARED_AFTER if self._prepares else None,
            application_name=f"shop-{name}",
        )


async def create_schema(connection: AsyncConnection[Any], *, missing_index: bool) -> bool:
    """Create the schema of the shop, or check that it is the shop's. Return whether it was created.

    The index is created or dropped.

    Raises:
        UsageError: the schema belongs to something else, or a right is missing.
    """
    try:
        async with connection.transaction():
            await connection.execute(schema.LOCK)
            row = await (await connection.execute(schema.OWNER)).fetchone()
            if row is not None and row[0] != schema.MARK:
                raise UsageError(
                    f"the database has a schema {SCHEMA} that this version of the demo shop did not create",
                    hint=f"use another database, or remove the schema: DROP SCHEMA {SCHEMA} CASCADE",
                )
            if row is None:
                for text in schema.CREATE:
                    await connection.execute(text)
            await set_index(connection, missing=missing_index)
    except psycopg.Error as error:
        raise UsageError(f"the schema {SCHEMA} cannot be created: {_text_of(error)}", hint=_HELP) from error
    return row is None


async def set_index(connection: AsyncConnection[Any], *, missing: bool) -> None:
    """Drop or create the index of items on (tenant, price_cents)."""
    await connection.execute(schema.DROP_INDEX if missing else schema.CREATE_INDEX)


def cannot_connect(error: psycopg.Error) -> UsageError:
    return UsageError(f"the database cannot be reached: {_text_of(error)}", hint=_HELP)


def failed_answer(error: psycopg.Error) -> Answer:
    """Return the answer to a request whose statement failed: 503 without a connection, else 500, with the SQLSTATE."""
    state = error.sqlstate
    is_gone = isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(_GONE))
    return json_answer(503 if is_gone else 500, {"error": "the database failed", "sqlstate": state, "is_gone": is_gone})


def _text_of(error: psycopg.Error) -> str:
    """Return the server's message in one line. libpq's messages have host, port and user, but no password."""
    return one_line(" ".join(str(error).split()), 300)
