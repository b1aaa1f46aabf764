"""Studies: answers to questions from several runs or from data, and how they are printed, drawn, stored and read."""
