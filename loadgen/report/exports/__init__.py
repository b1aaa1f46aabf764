"""A run as other programs take it: tables as CSV and Parquet, objectives as JUnit, a comment in Markdown."""
