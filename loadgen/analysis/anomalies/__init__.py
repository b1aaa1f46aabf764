"""Anomalies of hourly counts and latencies: hours that season and trend do not explain. Pure."""
