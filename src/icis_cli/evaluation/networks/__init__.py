"""The network of a checkpoint, built by the library that has it. One file per library."""
