`caudal account show` tells what has to be paid before the lines of an empty wallet are served.
