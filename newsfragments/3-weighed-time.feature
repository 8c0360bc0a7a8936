Counting windows weigh time on line too, or octets and time by windows of their own: `counts` of `[[plan.counting]]`.
