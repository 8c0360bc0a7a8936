"""Decides how a fleet of routers behaves: traffic for demonstrations, tests and capacity planning."""
