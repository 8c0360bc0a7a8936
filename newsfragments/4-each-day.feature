`caudal clock advance` lives each day that it passes, instead of the last one alone.
