"""Burn of error budgets: alert rules, when they fire, exhaustion, and the budget of slow-downs. Pure."""
