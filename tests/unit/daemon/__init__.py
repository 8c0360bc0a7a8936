"""The daemon room: its shells with a manual clock, without a network."""
