`caudal bank import` books the payments in a bank's CAMT.053 or CSV file, each once, and lists what it could not match.
