"""From the arguments of a call to the bytes of a request."""
