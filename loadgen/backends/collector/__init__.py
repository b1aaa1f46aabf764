"""Our own collector: receives spans by OTLP over HTTP, keeps the newest traces in memory, and returns them by id."""
