A partner's documents may be printed by a Typst template of its own; receipts name what they pay, credit notes what they correct.
