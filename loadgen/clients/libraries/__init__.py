"""Client libraries that open connections by themselves: a fence for them, and a table of those that connect in C."""
