"""A fixture: the files under a directory, in both forms of contract section 5, in byte order of their path."""

import os

import kcat
import segments


def read_directory(directory):
    """Every record of every fixture file, in the order in which files are read."""
    root = os.fsencode(directory)
    names = files(directory)
    logs = segments.Segments(root, [name for name in names if name.endswith(b".log")])
    for name in names:
        yield from logs.read(name) if name in logs.files else kcat.read_file(os.path.join(root, name), name)


def files(directory):
    """Relative paths (bytes) of the fixture files, hidden ones left out, in byte order."""
    root = os.fsencode(directory)
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(b".")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if name.startswith(b"."):
                continue
            if name.endswith((b".jsonl", b".jsonl.gz", b".jsonl.zst")) or segments.NAME.search(path):
                found.append(path)
    return sorted(found)
