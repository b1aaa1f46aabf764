"""AI inference: request bodies and decoders of each API, and the client that uses them."""
