`caudal invoice verify` and `caudal ledger check` find every document that was changed, forged or taken out behind the database's back.
