"""How a plan says its load: the standard models, recorded traffic, loads that follow what is seen, and users' own."""
