"""What all files of objectives share: YAML as text with lines, its fields, a stable writer, and one reader for all."""
