"""Exact octets against the documents that define them."""
