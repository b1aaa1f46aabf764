"""Makes a scenario that sends the sessions of access logs again: same requests, same order, same times.

id_files     ids of the target, which replace ids of the log
target_counts, target_urls    the URL of each request: a real one only if enough users sent it
session_lines, session_spool    the sessions, sorted by start, in temporary files
played_sessions    which sessions are played, how often, and when
replay_scenario    the text of the scenario
write_replay    calls all of them
"""
