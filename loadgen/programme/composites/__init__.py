"""Composites: several promises of one SLO with weights, judged together beside each of them."""
