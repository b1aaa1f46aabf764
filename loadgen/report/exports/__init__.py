"""Exports of a run for other programs: CSV and Parquet tables, JUnit XML, a Markdown comment."""
