"""Reads access logs: parses each line, gives names to requests, splits the requests of users into sessions, and writes
a scenario that sends such requests.

The modules, in the order in which data pass through them:

    inputs        finds and opens inputs, also in S3, unpacks them, and splits them into lines of limited length
    formats       parses one line of each format into fields
    intake        turns fields into rows (`rows`), and counts every line (`accounting`)
    row_batches, packed_rows    pack rows by column, in batches
    parse_input, parallel    parse the inputs, in this process or in several
    partitions    keeps the rows of a user together, in memory or in a temporary file
    path_segments, path_tree, naming    turn paths into names of requests
    path_table    keeps the paths themselves, for the values of parameters
    sessions, second_pass    split the requests of a user at long pauses
    walks, gap_bins, path_values    count what follows what, the times between, and values; `model_counts` calls them
    read_logs     calls all of them, and returns the `Traffic`
    session_arrivals    when sessions start
    draft_of_logs, draft    the scenario that these figures make, in a form that other readers make, too
    write_scenario, scenario_files, traffic_json    the files of a scenario
    replays      scenarios that send the sessions of logs again
    coverage     which requests of the traffic the scenarios send
    fidelity      how similar simulated or recorded sessions are to those of the logs
"""
