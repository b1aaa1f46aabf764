"""The subcommands of `loadgen capacity`, one file each, and what they share."""
