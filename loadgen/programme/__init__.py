"""The programme: promises of production over weeks, from objectives in files to recommendations.

`promises` has the values, and `openslo` and `sloth` read and write their files (`slo_files` has what both need).
`pulling` asks `sources` for counts, and `ledger` stores them. `status` judges each promise. `programme_toml` reads the
file of settings.
"""
