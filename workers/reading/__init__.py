"""Reading videos from strangers: in a child process that can be lost."""
