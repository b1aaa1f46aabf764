"""Reads access logs: parses each line, gives names to requests, and splits the requests of users into sessions.

The modules, in the order in which data pass through them:

    log_files     opens files, unpacks them, and splits them into lines of limited length
    formats       parses one line of each format into fields
    intake        turns fields into rows (`rows`), and counts every line (`accounting`)
    partitions    keeps the rows of a user together, in memory or in temporary files
    path_segments, path_tree, naming    turn paths into names of requests
    sessions      splits the requests of a user at long pauses
    read_logs     calls all of them, and returns the `Traffic`
"""
