#!/usr/bin/env python3
"""Checkpoints that are damaged, that a later version wrote, and that are old.

usage: checkpoints.py TEST BINARY LOG UNDISTURBED PLACE

TEST is one of
  verify   a file that is flipped, cut, emptied or removed is named by `tidegate checkpoint verify`, with exit code 1
  start    a start over damaged files says which they are and goes on; without any manifest of what sinks hold it is refused
  later    what a later version wrote is refused, with exit code 2
  keep     as many checkpoints stay as were asked for, no matter when one looks, and nothing of older ones
LOG is a fixture of activity that takes some seconds, UNDISTURBED what its replay has left. PLACE, a directory, is made and removed.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from steps import Run, epochs, same, wait_for


class Place:
    """A run that was stopped in the middle, copied for each trial."""

    def __init__(self, binary, log, undisturbed, work):
        self.binary, self.log, self.undisturbed, self.work = binary, log, undisturbed, work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)

    def command(self, out, *more):
        return [self.binary, "run", "activity", "--fixture", self.log, "--out", out, "--web", "off", "-w", "2", *more]

    def stopped(self, *more, at=4):
        """One that was stopped once it had decided some epochs."""
        out = self.work / "stopped"
        run = Run(self.command(out, "--epoch", "50ms", "--batch", "64", *more), self.work / "stopped.log")
        wait_for(f"epoch {at}", lambda: epochs(f"{out}.checkpoint/activity")[-1:] >= [at], runs=[run])
        run.process.send_signal(signal.SIGTERM)
        run.ends(0, "start it again to go on")
        return out

    def copied(self, out):
        copy = self.work / "copy"
        for end in ("", ".checkpoint"):
            shutil.rmtree(f"{copy}{end}", ignore_errors=True)
            shutil.copytree(f"{out}{end}", f"{copy}{end}")
        return copy

    def goes_on(self, out, *more):
        return Run(self.command(out, "--epoch", "200ms", *more), self.work / "goes-on.log")

    def verified(self, out):
        """Exit code, and what is damaged, of `checkpoint verify`."""
        command = [self.binary, "checkpoint", "verify", "--checkpoint", f"{out}.checkpoint", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"exit code {done.returncode}: {done.stderr}")
        return done.returncode, json.loads(done.stdout)["damages"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


DAMAGES = [flip, cut, empty, Path.unlink]


def files_of(checkpoint, epoch):
    """Both copies of an epoch's manifest."""
    return [checkpoint / f"manifest-{epoch:010}.{ending}" for ending in ("tg", "copy")]


def newest_state(checkpoint):
    return sorted(checkpoint.glob("delta-*"))[-1]


def test_verify(place):
    out = place.stopped()
    if (found := place.verified(out)) != (0, []):
        sys.exit(f"a whole checkpoint: {found}")
    for how in DAMAGES:
        copy = place.copied(out)
        state = newest_state(Path(f"{copy}.checkpoint/activity"))
        how(state)
        code, damages = place.verified(copy)
        if code != 1 or len(damages) != 1 or not damages[0].startswith(f"{state.name}: "):
            sys.exit(f"{how.__name__} {state.name}: exit code {code}, {damages}")
        # A manifest of which no copy is whole.
        copy = place.copied(out)
        checkpoint = Path(f"{copy}.checkpoint/activity")
        both = files_of(checkpoint, epochs(checkpoint)[-1])
        both[1].write_bytes(b"")
        how(both[0])
        code, damages = place.verified(copy)
        if code != 1 or not any(damage.startswith(f"{both[0].name}: ") for damage in damages):
            sys.exit(f"{how.__name__} {both[0].name}: exit code {code}, {damages}")
        # One copy alone: it is used no less, but what is decided hangs on the other.
        # The second of the newest epoch may be missing: it is written a moment after the first.
        for number, epoch in ((0, -1), (1, -2)):
            copy = place.copied(out)
            path = files_of(Path(f"{copy}.checkpoint/activity"), epochs(f"{out}.checkpoint/activity")[epoch])[number]
            how(path)
            code, damages = place.verified(copy)
            if code != 1 or len(damages) != 1 or not damages[0].startswith(f"{path.name}: "):
                sys.exit(f"{how.__name__} {path.name} alone: exit code {code}, {damages}")
    # A file that all checkpoints need is one file.
    copy = place.copied(out)
    state = sorted(Path(f"{copy}.checkpoint/activity").glob("delta-*"))[0]
    cut(state)
    code, damages = place.verified(copy)
    if code != 1 or len(damages) != 1:
        sys.exit(f"{state.name}: exit code {code}, {damages}")


def test_start(place):
    out = place.stopped()
    newest = epochs(f"{out}.checkpoint/activity")[-1]
    # The newest state is not whole: the log is read from the one before it, and what is decided stays.
    for how in (flip, Path.unlink):
        copy = place.copied(out)
        state = newest_state(Path(f"{copy}.checkpoint/activity"))
        how(state)
        run = place.goes_on(copy)
        run.ends(
            0,
            f'WARN.*state of epoch {newest}, "{state.name}": it is damaged',
            f"WARN.*the newest whole state is that of epoch {newest - 1}: .* to the end of epoch {newest}",
            f"going on after epoch {newest} ",
        )
        same(place.undisturbed, copy)
    # Of the newest manifest only the copy beside the output is whole: that is enough, and the others are mended before anything else.
    copy = place.copied(out)
    checkpoint = Path(f"{copy}.checkpoint/activity")
    for path in files_of(checkpoint, newest):
        cut(path)
    run = place.goes_on(copy, "--keep", "9999")
    run.ends(0, f'WARN.*"manifest-{newest:010}.tg" in .*: it is damaged', f"going on after epoch {newest} ")
    same(place.undisturbed, copy)
    if place.verified(copy) != (0, []):
        sys.exit(f"not mended: {place.verified(copy)}")
    # None is: the sinks hold an epoch that nothing decides, and nothing is made worse.
    copy = place.copied(out)
    checkpoint = Path(f"{copy}.checkpoint/activity")
    for path in [*files_of(checkpoint, newest), copy / ".tidegate/manifests/activity" / files_of(checkpoint, newest)[0].name]:
        cut(path)
    place.goes_on(copy).ends(1, f'holds epoch {newest}, but the newest whole manifest in ".*" decides {newest - 1}')


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def as_of_later_version(path):
    """The same content, whole, under the next number: src/checkpoint/frame.rs says what is where."""
    content = bytearray(path.read_bytes())
    if content[:8] != b"TIDEGATE":
        sys.exit(f"{path} does not begin as a checkpoint's file does")
    if crc32c(content[8:12] + content[16:]).to_bytes(4, "little") != content[12:16]:
        sys.exit(f"{path} is not written as this test believes")
    later = int.from_bytes(content[8:12], "little") + 1
    content[8:12] = later.to_bytes(4, "little")
    content[12:16] = crc32c(content[8:12] + content[16:]).to_bytes(4, "little")
    path.write_bytes(content)
    return later


def test_later(place):
    # Soon: the checksum is computed byte by byte.
    out = place.stopped(at=1)
    newest = epochs(f"{out}.checkpoint/activity")[-1]
    for kind in ("manifest", "state"):
        copy = place.copied(out)
        checkpoint = Path(f"{copy}.checkpoint/activity")
        paths = files_of(checkpoint, newest) if kind == "manifest" else [min(checkpoint.glob("delta-*"), key=lambda path: path.stat().st_size)]
        later = [as_of_later_version(path) for path in paths][0]
        before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
        run = place.goes_on(copy)
        run.ends(2, f'"{paths[0].name}" in ".*" has format {later}; this program reads formats up to {later - 1}: use the version that wrote it')
        if before != {path.name: path.read_bytes() for path in checkpoint.iterdir()}:
            sys.exit("a checkpoint that was refused has been changed")
        code, damages = place.verified(copy)
        if code != 1 or not any(f"{paths[0].name}: it has format {later}" in damage for damage in damages):
            sys.exit(f"verify: exit code {code}, {damages}")


def test_keep(place):
    out = place.work / "kept"
    checkpoint = Path(f"{out}.checkpoint/activity")
    # The second start asks for fewer than there are.
    for keep, until in ((4, 8), (2, None)):
        run = Run(place.command(out, "--epoch", "50ms", "--batch", "64", "--keep", str(keep)), place.work / "kept.log")
        started = epochs(checkpoint)
        looks, most, least, newest = 0, 0, None, started[-1:]
        while run.process.poll() is None:
            found = epochs(checkpoint)
            # Those of the start before stay until there is a new one, whose clean-up takes a moment.
            if found[-1:] > newest and found[-1] >= (started[-1] if started else 0) + 2:
                looks, most = looks + 1, max(most, len(found))
                if len(found) >= keep or least is not None:
                    least = min(len(found), least or len(found))
            if until and found[-1:] >= [until]:
                run.process.send_signal(signal.SIGTERM)
                until = None
            # Neither in step with the run nor in its way.
            time.sleep(0.003)
        run.ends(0)
        print(f"--keep {keep}: {least} to {most} checkpoints in {looks} looks")
        if looks < 20 or least != keep or most not in (keep, keep + 1):
            sys.exit("which is not what was asked for")
        left = epochs(checkpoint)
        if len(left) != keep or left != list(range(left[0], left[0] + keep)):
            sys.exit(f"--keep {keep} leaves {left}")
        needed = set()
        for epoch in left:
            show = [place.binary, "checkpoint", "show", "--checkpoint", f"{out}.checkpoint", "--epoch", str(epoch)]
            needed |= {file["file"] for file in json.loads(subprocess.run(show, capture_output=True, check=True).stdout)["state"]}
            needed |= {path.name for path in files_of(checkpoint, epoch)}
        more = {path.name for path in checkpoint.iterdir()} ^ needed
        if {name.split("-")[0] for name in more} != {"lock", "generation"} or len(more) != 2:
            sys.exit(f"of older checkpoints there is still something, or something is missing: {sorted(more)}")
    mirrored = epochs(out / ".tidegate/manifests/activity")
    if mirrored != left:
        sys.exit(f"beside the output there are {mirrored}")
    same(place.undisturbed, out)


def main():
    test, binary, log, undisturbed, work = sys.argv[1:]
    tests = {"verify": test_verify, "start": test_start, "later": test_later, "keep": test_keep}
    place = Place(binary, Path(log), Path(undisturbed), Path(work))
    tests[test](place)
    shutil.rmtree(work)


main()
