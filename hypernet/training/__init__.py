"""Training of the predictor, its decoder and its prior together. Not needed to decode."""
