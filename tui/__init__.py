"""Decides what an operator sees in the terminal: a client of the control API and nothing else."""
