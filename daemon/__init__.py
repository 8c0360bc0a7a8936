"""Decides which parts run together: the composition root and the shells around the pure rooms."""
