"""Decides what is owed: prices, invoices and the ledger, without I/O."""
