`caudal invoice run` bills all accounts that are due, exactly and as often as one likes; a dry run shows the differences from the month before.
