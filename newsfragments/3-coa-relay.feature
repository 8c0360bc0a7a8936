CoA- and Disconnect-Requests of other systems are passed on to the router that has the session.
