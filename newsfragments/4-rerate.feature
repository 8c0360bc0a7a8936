`caudal invoice rerate` shows what a line of usage sums and what it would cost now.
