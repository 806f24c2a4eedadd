"""Worker processes as their raylet sees them."""
