"""The instrument: sensors, a recorder outside the workload's process, and energy as a pure function of (trace, start, end)."""
