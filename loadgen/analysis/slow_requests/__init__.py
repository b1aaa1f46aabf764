"""Why requests are slow: figures, intervals and attributes of timed traces, put together to ranked causes."""
