With `proforma = true` a customer is asked by a proforma first, and the invoice is issued, numbered and paid by the payment that pays it in full.
