"""The ledger: counts of good and of all requests by slice, with excluded times and peaks."""
