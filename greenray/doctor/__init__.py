"""What a host can measure, how well, and what would improve it."""
