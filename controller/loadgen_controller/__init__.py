"""The controller: takes a plan, ships it to agents, merges what they measure, and says how it ended."""
