`caudal simulate plan` lets a plan live through a made-up or a real month and shows its rates, crossings and costs hour by hour.
