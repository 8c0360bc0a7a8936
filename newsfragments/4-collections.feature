Reminders, slowing, redirecting and blocking of debtors follow one calendar, which `caudal calendar` shows.
