`caudal apply` warns of lines that are disabled or expired and go on being billed.
