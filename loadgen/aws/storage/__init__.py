"""Run folders and other files in S3."""
