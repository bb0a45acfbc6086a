"""Descriptors made of class names: by text encoders, word vectors or a taxonomy."""
