"""The RADIUS protocol, sans I/O: packets, attributes, dictionaries, authenticators and credentials."""
