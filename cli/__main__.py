"""`python -m cli`: the `caudal` command without its script."""

from cli.main import main

main()
