"""Decides how facts are kept: the only room that speaks SQL."""
