"""The subcommands of `loadgen probe`."""
