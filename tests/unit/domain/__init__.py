"""The domain room: pure, without a clock."""
