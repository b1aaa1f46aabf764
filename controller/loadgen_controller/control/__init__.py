"""Requests to a running run: pause, scale, stop. Over a UNIX socket, and for the API and the page."""
