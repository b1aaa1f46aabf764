"""Clients that send HTTP requests and measure them.

docs/way-of-one-request.md follows one request through this package.
"""
