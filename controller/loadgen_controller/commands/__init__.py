"""The commands of `loadgen`, one file each: they parse, call, and print."""
