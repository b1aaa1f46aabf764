"""Reads a Kubernetes API server: events as marks, autoscalers, and restarts of containers."""
