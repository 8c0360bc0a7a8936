A plan whose schedule or fair use takes away a boost that it sells is warned of, on its line, when it is applied.
