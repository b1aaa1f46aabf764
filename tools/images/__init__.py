"""Builds the images of the agent and the controller with buildah, writes them as archives, and compares two builds."""
