"""The programme: promises of production over weeks, from objectives in files to recommendations.

`objectives`, `windows` and `slo_set` are values, `openslo` and `sloth` read and write their files (`slo_files` has what
both need), `checks` finds what is wrong with them, and `from_scenario` maps objectives of load tests to promises.
"""
