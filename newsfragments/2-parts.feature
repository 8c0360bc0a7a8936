`caudal serve --only radius` and `--only core` run the parts as services of their own; systemd has a unit for each and a target for both.
