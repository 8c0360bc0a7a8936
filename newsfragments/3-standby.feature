Several cores may share a database: one enforces, and another takes over when it dies.
