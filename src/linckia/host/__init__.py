"""The machine underneath: clock, entropy, processes, signals, files, memory probes and configuration.

The one room that may ask the operating system for time, random bytes and the environment; the others receive them as
arguments. It decides nothing.
"""
