"""What the probes of databases and pools say about the ranked paths of slow requests: statements, locks, pools."""
