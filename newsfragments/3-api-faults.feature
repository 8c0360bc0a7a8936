`caudal simulate` lets the APIs of its routers fail on demand (`--api-fault`, `--api-calls-per-second` and others).
