"""A peer that speaks ZMTP 3.1 with CURVE by hand, so that it can say what libzmq would never say (RFC 23, RFC 26).

The arithmetic is libsodium's, which comes with pyzmq; where it does not, tests that need it are skipped.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

import pytest
import zmq
from zmq.utils.z85 import decode as z85_decode

from loadgen.wire.curve_keys import AgentKeys, KeyPair
from loadgen.wire.sockets import identity_of, parse_address

__all__ = ["RawPeer", "greeting"]

_MAC = 16


def greeting(mechanism: bytes) -> bytes:
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


def _sodium() -> ctypes.CDLL:
    for path in Path(zmq.__file__).parent.parent.glob("pyzmq.libs/libsodium*"):
        return ctypes.CDLL(str(path))
    pytest.skip("no libsodium beside pyzmq")


class RawPeer:
    """Connected, and past the handshake as `agent`."""

    def __init__(self, address: str, keys: AgentKeys, agent: str) -> None:
        self._sodium = _sodium()
        self._nonce = 0
        self.socket = socket.create_connection(parse_address(address), timeout=60)
        self.socket.sendall(greeting(b"CURVE"))
        self._receive(64)
        self._shake_hands(keys, identity_of(agent))

    @staticmethod
    def check() -> None:
        """Skips the test where there is no libsodium."""
        _sodium()

    def send_part(self, data: bytes, *, more: bool) -> None:
        """One frame of a message."""
        box = self._seal(b"CurveZMQMESSAGEC" + self._next(), bytes([more]) + data)
        body = b"\x07MESSAGE" + self._nonce.to_bytes(8, "big") + box
        self.socket.sendall(struct.pack(">BQ", 2, len(body)) + body)

    def close(self) -> None:
        self.socket.close()

    def _shake_hands(self, keys: AgentKeys, identity: bytes) -> None:
        server, own = z85_decode(keys.controller), keys.own
        short = KeyPair.new()
        short_public, short_secret = z85_decode(short.public), z85_decode(short.secret)
        nonce = self._next()
        box = self._box(bytes(64), b"CurveZMQHELLO---" + nonce, server, short_secret)
        self._command(b"\x05HELLO\x01\x00" + bytes(72) + short_public + nonce + box)
        welcome = self._read_command()
        opened = self._open(welcome[24:], b"WELCOME-" + welcome[8:24], server, short_secret)
        server_short, cookie = opened[:32], opened[32:]
        vouch_nonce = os.urandom(16)
        vouch = self._box(short_public + server, b"VOUCH---" + vouch_nonce, server_short, z85_decode(own.secret))
        metadata = b"".join(
            bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
            for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", identity))
        )
        self._shared = ctypes.create_string_buffer(32)
        self._sodium.crypto_box_beforenm(self._shared, server_short, short_secret)
        nonce = self._next()
        plain = z85_decode(own.public) + vouch_nonce + vouch + metadata
        self._command(b"\x08INITIATE" + cookie + nonce + self._seal(b"CurveZMQINITIATE" + nonce, plain))
        assert self._read_command().startswith(b"\x05READY")

    def _next(self) -> bytes:
        self._nonce += 1
        return self._nonce.to_bytes(8, "big")

    def _seal(self, nonce: bytes, plain: bytes) -> bytes:
        sealed = ctypes.create_string_buffer(len(plain) + _MAC)
        self._sodium.crypto_box_easy_afternm(sealed, plain, ctypes.c_ulonglong(len(plain)), nonce, self._shared)
        return sealed.raw

    def _box(self, plain: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
        sealed = ctypes.create_string_buffer(len(plain) + _MAC)
        self._sodium.crypto_box_easy(sealed, plain, ctypes.c_ulonglong(len(plain)), nonce, public, secret)
        return sealed.raw

    def _open(self, sealed: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
        plain = ctypes.create_string_buffer(len(sealed) - _MAC)
        size = ctypes.c_ulonglong(len(sealed))
        assert self._sodium.crypto_box_open_easy(plain, sealed, size, nonce, public, secret) == 0
        return plain.raw

    def _command(self, body: bytes) -> None:
        head = struct.pack(">BB", 4, len(body)) if len(body) < 256 else struct.pack(">BQ", 6, len(body))
        self.socket.sendall(head + body)

    def _read_command(self) -> bytes:
        flags = self._receive(1)[0]
        size = struct.unpack(">Q", self._receive(8))[0] if flags & 2 else self._receive(1)[0]
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the peer hung up"
            data += more
        return data
