An entry of the bank in another currency is assigned with `--rate` or `--worth`, and files of the bank are booked several entries at a time.
