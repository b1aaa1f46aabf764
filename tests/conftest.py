"""For all tests: properties have no deadline, since nothing here asserts how long anything takes."""

from hypothesis import settings

settings.register_profile("loadgen", deadline=None)
settings.load_profile("loadgen")
