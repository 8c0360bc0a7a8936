"""The simulator room: routers with a clock of their own, without a network."""
