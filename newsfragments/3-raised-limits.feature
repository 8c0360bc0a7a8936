A top-up that is bought while a session is open moves the octet limit at which a MikroTik ends it, below 4 GiB.
