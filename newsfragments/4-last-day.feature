`last_day_charged` of a plan or product says that the day named for an end is its last one.
