"""Generators: a task that yields hands over each value when it is made; readers need not wait for the last one."""

import io
import linecache
import sysconfig
import tokenize
from pathlib import Path

import linckia


@linckia.remote
def definitions(path):
    """Names that a source file defines, one at a time."""
    source = io.BytesIO(Path(path).read_bytes())
    previous = ""
    for token in tokenize.tokenize(source.readline):
        if previous in ("def", "class"):
            yield token.string, token.start[0]
        previous = token.string


path = str(Path(sysconfig.get_path("stdlib"), "argparse.py"))

with linckia.init():
    count = 0
    for ref in definitions.remote(path):  # each turn waits for one more value
        name, line = linckia.get(ref)
        assert name in linecache.getline(path, line)
        count += 1
        if count <= 3:
            print(f"line {line}: {name}")
    print(f"... {count} definitions in argparse.py")
    assert count > 100
