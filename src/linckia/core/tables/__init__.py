"""What a head's tables may hold, and what goes first: budgets in bytes. Pure."""
