Products can be charged by events: units, units held by the day, or a share of amounts; usage can be billed before its period is over.
