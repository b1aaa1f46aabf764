"""Common parts of all files of objectives: YAML as text with lines, fields, a stable writer, one reader for all."""
