"""Who runs where: the schedule, the driver's loop, one worker a GPU and one fresh process a cell."""
