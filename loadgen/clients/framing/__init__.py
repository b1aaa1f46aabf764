"""HTTP/2 without I/O: frames as pure functions, and the rules of a connection (`protocol/http2.py` does the I/O)."""
