`caudal check` looks at rights in the database, at every port and at the control socket, and has `--json`.
