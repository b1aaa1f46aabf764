"""Connections between requests: who keeps them, and which one is used next."""
