caudal explain says of a line whose sale has not begun, is paused or has ended, and what sells it again.
