A plan may charge what is used beyond its cap, by blocks and tiers, up to a ceiling at which the line is slowed.
