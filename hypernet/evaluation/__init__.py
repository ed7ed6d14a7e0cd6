"""Measuring: quality, rate, codecs to compare with, benchmark tables and plots."""
