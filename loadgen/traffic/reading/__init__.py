"""From lines to rows in partitions by user."""
