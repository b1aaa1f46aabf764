"""`loadgen gate`: makes runs, has them judged, and says what came of it."""
