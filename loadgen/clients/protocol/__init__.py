"""HTTP/1.1 and HTTP/2 on one connection: bytes out, responses in."""
