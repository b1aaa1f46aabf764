"""What of a run goes to AWS: its folder into a bucket, and back. Needs the extra `aws`."""
