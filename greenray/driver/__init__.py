"""The process that a person starts: plan, schedule, loop, pool of workers, cluster. No torch."""
