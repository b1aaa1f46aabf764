"""What `loadgen decide` reads from the history and the ledger, as the values that its rows are made from."""
