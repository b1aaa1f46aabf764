"""What a pipeline shows: one comment on its pull request, and errors at their lines in the changed files."""
