"""One process of the traced shop: `python -m tests.support.traced_shop.service stock --version 2 --collector URL`.

Its first line of output is its URL, printed once the port is open. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import zlib
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import TYPE_CHECKING

import httpx
import uvicorn
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import Tracer
from starlette.applications import Starlette
from starlette.routing import Route

from tests.support.traced_shop.faults import Faults, faults_of_environment
from tests.support.traced_shop.handlers import catalog_routes, shop_routes, stock_routes
from tests.support.traced_shop.telemetry import provider_of

if TYPE_CHECKING:
    from tests.support.traced_shop.database import StockDatabase


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _database_of(faults: Faults, tracer: Tracer) -> AbstractAsyncContextManager[StockDatabase]:
    from tests.support.traced_shop.database import stock_database  # psycopg is slow to import, and rarely needed

    return stock_database(faults, tracer)


async def _serve(options: argparse.Namespace, listener: socket.socket) -> None:
    faults, random = faults_of_environment(), Random(zlib.crc32(options.instance.encode()) + options.seed)
    off_s = faults.clock_off_s if options.service == "stock" else 0.0
    provider = provider_of(options.collector, options.service, options.version, options.instance, off_s)
    tracer = provider.get_tracer("tests.support.traced_shop")
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    has_database = options.service == "stock" and bool(faults.database)
    opened = _database_of(faults, tracer) if has_database else contextlib.nullcontext()
    async with httpx.AsyncClient(trust_env=False) as client, opened as database:
        routes: list[Route] = {
            "catalog": lambda: catalog_routes(tracer, faults, random),
            "stock": lambda: stock_routes(tracer, faults, random, options.version, database),
            "shop": lambda: shop_routes(tracer, faults, random, options.catalog, options.stock, client),
        }[options.service]()
        app = OpenTelemetryMiddleware(Starlette(routes=routes), tracer_provider=provider)
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await server.serve(sockets=[listener])
    provider.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=("shop", "stock", "catalog"))
    parser.add_argument("--version", default="1")
    parser.add_argument("--instance", required=True)
    parser.add_argument("--collector", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--catalog", default="", help="base URL, for shop")
    parser.add_argument("--stock", nargs="*", default=[], help="base URLs of all instances, for shop")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=512) as listener:
        # Inherited by connections. asyncio sets it only on sockets that name TCP as their protocol, and without it each
        # answer waits 40 ms for a delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        asyncio.run(_serve(options, listener))


if __name__ == "__main__":
    main()
