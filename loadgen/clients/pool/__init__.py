"""Connection pools: they keep open connections between requests and choose the connection for the next request."""
