"""HTTP/1.1 and HTTP/2 on one connection: writes the bytes of requests and parses responses."""
