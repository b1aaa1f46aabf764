"""The programme: promises of production over weeks, from objectives in files to recommendations.

`objectives` and `windows` are values, `openslo` and `sloth` read and write their files.
"""
