"""Decides how fast the product is: the measurements that docs/performance.md shows."""
