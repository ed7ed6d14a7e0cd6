"""The HTTP interface. Imports no torch: it stores wishes and reads results."""
