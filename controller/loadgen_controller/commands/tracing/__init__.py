"""The commands of `loadgen trace`: why requests were slow, one trace as a waterfall, export and the own collector."""
