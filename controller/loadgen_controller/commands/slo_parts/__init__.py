"""The subcommands of `loadgen slo`, one file each."""
