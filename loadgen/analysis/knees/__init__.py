"""Highest rates that several searches found, combined into one."""
