"""The mathematics of a recommendation: how many further runs would decide, and what a change is worth. Pure."""
