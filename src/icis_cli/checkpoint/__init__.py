"""Checkpoints: containers (one reader and one writer each) and the head inside them."""
