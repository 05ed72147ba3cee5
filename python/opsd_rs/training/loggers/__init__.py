"""Where a run's numbers go: one file per logger, named by ``log.to``."""
