"""C kernels for decoding on a CPU; torch computes the same where they were not built."""
