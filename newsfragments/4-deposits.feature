`caudal deposit` holds money for a customer apart from debts and wallets, and `caudal invoice write-off` gives up what nobody pays; both are in the books.
