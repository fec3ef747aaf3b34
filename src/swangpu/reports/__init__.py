"""Reports made from what other services recorded."""
