"""Promises: values of objectives and their windows, sets of them with faults and losses, and checks on them.

`objectives`, `windows` and `slo_set` are values; `checks` and `low_traffic_notes` find what is wrong with a promise.
`from_scenario`, `for_scenarios` and `new_promise` make promises from scenarios, for scenarios and from nothing.
"""
