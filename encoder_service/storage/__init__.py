"""Objects: sources, segments and streams."""
