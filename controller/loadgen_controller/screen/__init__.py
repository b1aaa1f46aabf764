"""What a person sees of a run that goes on: figures, the live view, reports as text."""
