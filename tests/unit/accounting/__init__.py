"""The accounting room: what a record says, what a session makes of it, and how usage is split."""
