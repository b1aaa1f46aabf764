"""Prompts for tests of AI inference: texts with a given number of tokens, the same on any number of agents."""
