Discounts are given by `[[discount]]` or `caudal discount`, for one subscription or a whole account, and one-time items are charged by `caudal charge`.
