`caudal simulate plan` takes a file whose taxes, partners or pools stand only in the database, and shows burst beside the rates.
