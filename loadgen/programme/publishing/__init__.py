"""Publishing: pages of the programme go to a folder or to S3, and messages about them to channels.

Each finished step is recorded in the history, so a second run finishes a partial one and repeats nothing.
"""
