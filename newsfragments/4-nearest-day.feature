Terms say with `begins = "nearest-day"` that what is ordered from noon on, without a day, begins on the next one.
