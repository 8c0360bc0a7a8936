Blocked lines are rejected, or let into a walled garden by address list, pool or page, as the ISP and each plan say for each reason.
