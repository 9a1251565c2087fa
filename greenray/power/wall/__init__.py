"""Meters outside the host: a plug meter that is followed over HTTP, by a command or in a growing CSV file."""
