"""Controls running runs: pause, scale, stop. Over a UNIX socket, and for the API and the page."""
