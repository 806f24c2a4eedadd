"""Python values to bytes and back: cloudpickle with out-of-band buffers, refs inside values, zero-copy views.

Used by the runtime in drivers and workers. It finds the refs in a value but refuses to count them: that is
`core.objects`.
"""
