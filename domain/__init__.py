"""Decides what the words of the trade mean: the shared vocabulary of every other room, without I/O."""
