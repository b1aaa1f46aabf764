"""What a line of a log becomes: a row of 32 bytes, and its place in the accounting."""
