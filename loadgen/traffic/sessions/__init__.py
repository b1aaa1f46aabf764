"""Sessions of users: where they begin, their actions, a sample of them."""
