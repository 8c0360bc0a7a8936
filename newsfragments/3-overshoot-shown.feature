`caudal explain` and `caudal line list` show how far a line overshot its last threshold.
