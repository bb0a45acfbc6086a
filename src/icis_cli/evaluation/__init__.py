"""Evaluation: metrics, features, images, and comparison with known rows. Changes no checkpoint."""
