"""A mail server that speaks the SMTP of smtplib: STARTTLS, AUTH PLAIN, and rejections that a test asks for."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MailServer", "mail_server"]


@dataclass(slots=True)
class MailServer:
    """What arrived, and how the server answers."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    """Offers STARTTLS with this certificate."""
    login: str = ""
    """USER:PASSWORD that AUTH accepts; empty: AUTH is not offered."""
    rejects: str = ""
    """The answer to MAIL FROM, such as "550 not you"."""
    hangs: threading.Event | None = None
    """Greets nobody until it is set."""
    texts: list[str] = field(default_factory=list)
    """The messages that were accepted, with their headers."""
    was_encrypted: list[bool] = field(default_factory=list)


@contextlib.contextmanager
def mail_server(**how: Any) -> Iterator[MailServer]:
    server = MailServer(**how)

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            if server.hangs is not None:
                server.hangs.wait(60)
            is_encrypted = False
            self.say("220 mail.example")
            while line := self.rfile.readline().decode().strip():
                command, _, rest = line.partition(" ")
                match command.upper():
                    case "EHLO":
                        offers = ["STARTTLS"] * (server.tls is not None and not is_encrypted)
                        offers += ["AUTH PLAIN"] * bool(server.login)
                        names = ["mail.example", *offers]
                        for name in names[:-1]:
                            self.say(f"250-{name}")
                        self.say(f"250 {names[-1]}")
                    case "STARTTLS" if server.tls is not None:
                        self.say("220 go on")
                        secured = server.tls.wrap_socket(self.request, server_side=True)
                        self.rfile = secured.makefile("rb")
                        self.wfile = secured.makefile("wb", 0)  # type: ignore[assignment]
                        is_encrypted = True
                    case "AUTH":
                        given = base64.b64decode(rest.split()[-1]).decode().split("\0")[1:]
                        self.say("235 welcome" if ":".join(given) == server.login else f"535 not {given[-1]}")
                    case "MAIL" if server.rejects:
                        self.say(server.rejects)
                    case "MAIL" | "RCPT" | "RSET":
                        self.say("250 fine")
                    case "DATA":
                        self.say("354 go on")
                        lines = []
                        while (got := self.rfile.readline().decode()) not in (".\r\n", ""):
                            lines.append(got)
                        server.texts.append("".join(lines))
                        server.was_encrypted.append(is_encrypted)
                        self.say("250 taken")
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("502 unknown")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as running:
        server.port = running.server_address[1]
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            if server.hangs is not None:
                server.hangs.set()
            running.shutdown()
