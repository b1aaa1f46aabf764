"""How often verdicts and intervals are wrong, by simulation: the tables of docs/how-often-wrong.md."""
