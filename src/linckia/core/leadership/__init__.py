"""Which head leads: the life of a head as a candidate, and the records that heads keep in the metadata store. Pure."""
