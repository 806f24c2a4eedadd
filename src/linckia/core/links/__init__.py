"""What survives the breaking of a connection between a raylet and the head. No I/O."""
