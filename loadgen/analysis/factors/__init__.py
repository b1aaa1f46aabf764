"""Plans and analyses experiments with several factors: designs, order of runs, power, effects and stopping rules."""
