Runs can be seen some days ahead, confirmed with `caudal invoice confirm`, and are issued by themselves when the time to do so is over.
