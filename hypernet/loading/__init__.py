"""Random and sequential clips of many streams as PyTorch tensors; see `hypernet.loader`."""
