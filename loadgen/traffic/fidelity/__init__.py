"""Measures how faithful simulated or recorded sessions are to those of a log.

distances, burstiness, locality    figures of one property
session_summary, time_summary      what is compared, as counts: of sessions, and of a whole log
compare, floors                    distances of all properties, and what chance alone makes of them
judge, verdict                     a row for each property, with its limit, and the verdict
reference, answers                 what traffic.json keeps of a log
plan_sessions, plan_times          simulated sessions of a scenario, without a target
of_model, of_plan, of_run, of_log  the comparisons: of a new model, a scenario, a run, the target's log of a test
"""
