"""Methods: each learns from seen pairs (descriptor, row) and predicts rows for descriptors."""
