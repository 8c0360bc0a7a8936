"""Decides what an operator's program may ask of the daemon: the control API and the shapes of its answers."""
