"""Linckia: ordinary Python functions and classes as tasks and actors, on one machine or many.

`import linckia; linckia.init()` starts a cluster; `@linckia.remote` marks what runs in it.
"""

__version__ = "0.1.0"
