`caudal explain` tells in English or Spanish which rules made a line what it is, with their numbers, and what would change it.
