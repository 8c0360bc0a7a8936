`caudal payment add --currency USD --rate 0.926` books a payment in another currency than the account's; each currency is balanced by itself.
