"""The test kit: virtual clock, seeded network with faults, simulated cluster and checkers.

Public, for users' tests as well as ours. Product code never imports it; the import contract holds that.
"""
