A cap or a step of fair use may count for ever (`period = "ever"`), and the weeks of a plan may begin on Sunday (`week_starts`).
