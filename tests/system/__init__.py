"""The real process and real peers."""
