"""Records requests, steps and iterations; once an interval it makes one delta of them."""
