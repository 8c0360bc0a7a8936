Whoever was given up for a debt comes back when it is paid; days on trust are for lines that are cut; `one_time_cuts = false` leaves documents of which everything is charged once out of cuts.
