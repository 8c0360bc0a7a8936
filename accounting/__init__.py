"""Decides what was used: RADIUS accounting in, sessions and usage out, without I/O."""
