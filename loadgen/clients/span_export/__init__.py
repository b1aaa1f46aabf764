"""Sends the generator's own spans of sampled iterations as OTLP over HTTP: `Trace(export="otlp:URL")`."""
