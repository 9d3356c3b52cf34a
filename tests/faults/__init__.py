"""The fault machine: what a disk, a kill or a stranger may do to a run, done on purpose."""
