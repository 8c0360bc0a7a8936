`caudal ledger` checks, shows, exports and closes books that the database itself keeps balanced.
