`caudal subscription` begins, changes, pauses, resumes and ends what is sold, with dates, and the lines follow; listings show the states of customers and services.
