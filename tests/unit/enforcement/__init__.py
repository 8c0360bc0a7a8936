"""The enforcement room: pure, without a clock."""
