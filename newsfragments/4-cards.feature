`caudal card charge` charges a stored card through a gateway, and an answer that is lost neither charges twice nor loses a payment.
