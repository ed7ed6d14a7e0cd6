"""The hypernetwork: a transformer that predicts the weights of a clip in one pass."""
