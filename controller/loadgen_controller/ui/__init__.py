"""The live web page: shows runs in a browser and controls them from there."""
