"""Everything that calls AWS: fleets of machines, run folders in S3, metrics and traces. Needs the extra `aws`."""
