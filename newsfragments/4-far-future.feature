`caudal invoice run` refuses a day more than 31 days ahead unless `--yes-far-future` says that it is meant.
