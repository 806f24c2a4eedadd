"""Decisions about a node's memory: when there is too little, who goes, what is said, which idle workers are too fat."""
