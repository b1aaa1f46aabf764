"""The gRPC API of a permanent controller: server, client, tokens, and the code that commands share."""
