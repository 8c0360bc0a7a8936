"""What billing keeps: the catalogue, accounts and their history, documents, the ledger, payments."""
