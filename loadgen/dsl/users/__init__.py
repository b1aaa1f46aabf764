"""The user that a journey gets as its argument, and what runs it."""
