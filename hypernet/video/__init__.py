"""Video in and out: frames with exact timestamps, segments, audio packets, written files."""
