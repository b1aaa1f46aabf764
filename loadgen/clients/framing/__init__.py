"""HTTP/2 without I/O: frames as pure functions, the rules of a connection, and limits on floods (`protocol/http2.py` does the I/O)."""
