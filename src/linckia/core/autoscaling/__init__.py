"""Autoscaling: demand, node types and limits in, launches and terminations with reasons out. Pure."""
