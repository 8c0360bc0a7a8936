`caudal reminder list` tells whom to remind of what; a dry run leaves out what a wallet does not pay.
