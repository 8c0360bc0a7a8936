A bundle holds plans, recurring items and voice plans for one price, divided over their taxes to the cent.
