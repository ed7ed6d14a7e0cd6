"""Shipped predictor and decode files, each with its card."""
