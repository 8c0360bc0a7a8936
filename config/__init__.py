"""Decides what a valid configuration is: TOML in, frozen values out, every mistake named with its line."""
