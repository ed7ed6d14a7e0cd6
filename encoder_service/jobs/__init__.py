"""Encodings and the units of work they are made of."""
