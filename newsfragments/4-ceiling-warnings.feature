It is warned when 80 % and 100 % of what overage costs at most are charged; `warn_percents` of `[plan.overage]` says otherwise.
