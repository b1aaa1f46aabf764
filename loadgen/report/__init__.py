"""Reports of ended runs: texts, tables, charts and exports from the run folder, without new statistics."""
