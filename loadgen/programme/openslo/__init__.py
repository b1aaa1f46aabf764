"""Files of objectives: OpenSLO v1 is read and written, with a line for each fault, note and loss.

`yaml_nodes` reads YAML as text with lines, `fields` takes values out of it, `read_files` makes objectives, `checks`
finds what a single document cannot show, `write` exports.
"""
