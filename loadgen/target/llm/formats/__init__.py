"""The event formats of the four APIs: how a token, a finish reason, a usage or an error looks on the wire."""
