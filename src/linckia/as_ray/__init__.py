"""The `import ray` drop-in: Ray's module and attribute names, pointing at Linckia's.

Names only, no behaviour of its own. What Linckia does not have yet answers with a sentence that says so.
"""
