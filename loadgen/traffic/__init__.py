"""Reads access logs: parses each line, gives names to requests, splits the requests of users into sessions, and writes
a scenario that sends such requests.

The folders, in the order in which data pass through them:

    inputs      finds and opens inputs, also in S3, unpacks them, and splits them into lines of limited length
    formats     parses one line of each format into fields
    rows        what a line becomes: 32 bytes, and its place in the accounting
    filters     requests that are not traffic of users
    reading     from lines to rows in partitions by user; `parallel` does it in several processes
    names       turns paths into names of requests, and keeps the values of their parameters
    sessions    splits the requests of a user at long pauses, and into actions
    model       counts what sessions do: kinds of sessions, successors, pauses
    read_logs   calls all of them, and returns the `Traffic`
    scenario    the draft of a scenario, its text, its files, and its updates
    model_page  the report of a model as an HTML page
    fidelity    how similar simulated or recorded sessions are to those of the logs
    replays     scenarios that send the sessions of logs again
    coverage    which requests of the traffic the scenarios send
"""
