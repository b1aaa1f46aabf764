"""Settings and kinds of the sources of production's counts, and pulls from them into the ledger."""
