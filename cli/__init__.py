"""Decides how a person speaks to Caudal from a shell: the caudal command."""
