A cap may take what ran over from the next periods (`carry_overage`): the line, the bill and the simulation count with it alike.
