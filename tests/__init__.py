"""Decides whether the product may ship."""
