"""The weekly page: promises, budgets, releases and money of one ISO week, each number with its evidence."""
