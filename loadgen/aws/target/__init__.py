"""The target's side of a run on AWS: CloudWatch metrics and X-Ray traces."""
