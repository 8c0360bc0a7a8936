A plan with `partners` can be given only to customers of these; `caudal apply` and `caudal import` refuse every other sale, line by line.
