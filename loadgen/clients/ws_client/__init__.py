"""WebSocket over the user's own connections: `user.ws`."""
