"""Nodes of the cluster: which are alive, suspect, draining or dead, by what evidence. Pure."""
