"""Workers: from a message to a stored result."""
