"""Tasks: their life cycle, and when to retry one."""
