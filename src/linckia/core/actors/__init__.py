"""Actors: their life cycle, and why they die."""
