"""How load tests are left out of the counts of production, so that they spend no error budget."""
