`caudal invoice credit` takes back a line of an invoice, or a part of it, with its share of the tax.
