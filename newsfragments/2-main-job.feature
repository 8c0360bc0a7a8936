`caudal serve` lets subscribers in over RADIUS, measures what their lines carry into PostgreSQL and answers a router only after its record is committed.
