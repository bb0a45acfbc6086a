"""Verification: whether a checkpoint is another one plus rows."""
