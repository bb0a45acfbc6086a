"""Class descriptors: readers for each file format, names, and alignment with a head."""
