A customer may have a service address beside the billing address; documents print it, and e-invoices carry it, where it is another place.
