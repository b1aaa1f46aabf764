"""`capacity fit`: throughput against load from a CSV file or from runs, and the study of its curve."""
