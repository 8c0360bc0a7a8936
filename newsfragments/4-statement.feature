`caudal statement CUSTOMER` shows every document and payment of an account with its balance, on the terminal, as JSON or as PDF in English and Spanish.
