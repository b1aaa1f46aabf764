"""The APIs of AI inference: request bodies, and answers from bytes to parts, times and text. Pure."""
