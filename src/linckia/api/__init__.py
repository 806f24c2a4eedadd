"""What users call: `init`, `remote`, `get`, `put`, `wait`, handles, options and the runtime context.

The only place with decorators and an implicit context. It checks arguments and hands over to `worker`; it holds no
cluster logic.
"""
