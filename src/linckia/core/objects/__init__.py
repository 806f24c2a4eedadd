"""Objects as their owner sees them: where the value is, who refers to it, when it is free."""
