`caudal price change` changes a price for new customers, for all, or for those at the old price, with a dry run.
