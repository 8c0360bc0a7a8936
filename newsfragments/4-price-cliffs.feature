`caudal apply` warns of a tariff by which a little more costs less.
