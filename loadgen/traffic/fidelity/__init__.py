"""Measures how faithful simulated or recorded sessions are to those of a log.

distances, burstiness, locality    figures of one property
session_summary, time_summary      the counts that are compared: of sessions, and of the times of a whole log
compare, floors                    distances of all properties, and their floors: the distances by chance alone
judge, verdict                     a row for each property, with its limit, and the verdict
reference, answers                 the summary of a log in traffic.json
plan_sessions, plan_times          simulated sessions of a scenario, without a target
of_model, of_plan, of_run, of_log  the comparisons: of a new model, a scenario, a run, the target's log of a test
"""
