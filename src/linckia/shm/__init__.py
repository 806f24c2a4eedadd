"""One node's shared memory: the segment, extents, sealed objects, pins and recycled space.

The raylet hosts it; drivers and workers map it. It moves bytes and counts readers; who owns an object and when it is
garbage is decided in `core.objects`.
"""
