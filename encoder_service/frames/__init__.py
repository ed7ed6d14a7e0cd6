"""Frames of stored streams as pictures, rendered by child processes: the API never sees torch."""
