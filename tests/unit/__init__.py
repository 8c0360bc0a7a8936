"""One folder a room: no network, no database, no sleep."""
