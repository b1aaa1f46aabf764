"""Finds which requests of the traffic the scenarios send: a share that is weighted by requests, errors or writes.

endpoints    a method and a path with parameters, and which of them are the same
traffic_names    the names of requests in `traffic.json`, with their counts
openapi_operations    the operations of an OpenAPI document
traced_endpoints    the endpoints that traces of production enter by
helper_calls, source_calls    the requests in the source of scenarios
measure    joins them: shares, and lists of gaps
stubs    Python for endpoints that no scenario sends
"""
