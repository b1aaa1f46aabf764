"""HTTP/2 and WebSocket without I/O: frames, the rules of an HTTP/2 connection, and limits on floods, as pure code."""
