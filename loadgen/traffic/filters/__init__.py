"""Requests that are not traffic of users: crawlers, health checks, static files."""
