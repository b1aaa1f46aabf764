"""The models of load: standard, recorded, steered, and user-written executors."""
