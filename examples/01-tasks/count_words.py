"""Tasks: mark a function, call it with `.remote`, get the results. Here: the words of Python's own source files."""

import collections
import pathlib
import re
import sysconfig

import linckia


@linckia.remote
def words_of(path):
    text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    return collections.Counter(re.findall(r"[a-z]{4,}", text.lower()))


library = pathlib.Path(sysconfig.get_path("stdlib"))
paths = sorted(library.glob("*.py"))[:60]

with linckia.init():
    refs = [words_of.remote(str(path)) for path in paths]  # returns at once: the work happens in other processes
    total = sum(linckia.get(refs), collections.Counter())  # waits; results come in the order of the refs

print(f"{len(paths)} files, {sum(total.values()):,} words, most often: {', '.join(w for w, _ in total.most_common(5))}")
assert total["self"] > 100
