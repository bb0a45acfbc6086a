"""Comparison: several methods and seeds over one classifier, and the paper's protocol."""
