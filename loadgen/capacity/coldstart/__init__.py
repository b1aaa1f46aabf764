"""`loadgen capacity coldstart`: how long new instances take, from a run in which the target was scaled."""
