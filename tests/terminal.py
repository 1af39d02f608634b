#!/usr/bin/env python3
"""What the program does on a terminal, and what it does not do elsewhere: a bar, colours, the screen of `tidegate top`, help that fits.

usage: terminal.py BINARY

Each command runs behind a terminal of its own (a pty) of 24 lines of 80 columns.
"""

import concurrent.futures
import fcntl
import glob
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

PATIENCE = 120.0
BARE = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith(("TIDEGATE_", "CLICOLOR", "NO_COLOR"))}
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """A command behind a terminal: standard input always; standard output and error unless they are said to be elsewhere."""

    def __init__(self, command, env, stdout=None, stderr=None, **more):
        self.keyboard, self.end = os.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.end)
        self.shown = b""
        streams = {"stdin": self.end, "stdout": stdout or self.end, "stderr": stderr or self.end}
        # Its terminal in every way, so that Ctrl-C reaches it.
        take = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        environment = BARE | {"TERM": "xterm-256color"} | env
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=take, **streams, **more)
        # Our own end stays open, so that what was shown last is not lost, and the terminal can be looked at afterwards.
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while piece := os.read(self.keyboard, 65536):
                self.shown += piece
        except OSError:
            pass  # Closed.

    def until(self, what, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition(self.shown):
            assert self.process.poll() is None and time.monotonic() < deadline, f"it is never shown: {what}: {self.shown[-2000:]}"
            time.sleep(0.02)

    def ends(self, code=0):
        """Waits for the end with this exit code; what was shown."""
        if self.process.wait(PATIENCE) != code:
            sys.exit(f"exit code {self.process.returncode}, not {code}, of {self.process.args}: {self.shown[-2000:].decode(errors='replace')}")
        # A mark of our own, written behind all that it has written.
        mark = b"<the end>"
        os.write(self.end, mark)
        deadline = time.monotonic() + PATIENCE
        while not self.shown.endswith(mark):
            assert time.monotonic() < deadline, "the terminal gives nothing"
            time.sleep(0.01)
        self.after = termios.tcgetattr(self.end)
        os.close(self.end)
        self.reader.join(PATIENCE)
        os.close(self.keyboard)
        return self.shown[: -len(mark)]


def assert_that(holds, what, shown):
    assert holds, f"{what}: {shown[-800:]!r}"


def plain(shown):
    """Whether nothing in it moves a cursor, or anything else of a terminal."""
    return b"\x1b" not in shown and b"\r" not in shown.replace(b"\r\n", b"\n")


def replay(binary, fixture, place, speed="3000x"):
    return [binary, "replay", "activity", "--fixture", fixture, "--out", place, "--speed", speed]


def bars(binary, fixture, place):
    shown = Terminal(replay(binary, fixture, f"{place}/a"), {}).ends()
    assert_that(COLOUR.search(shown), "no colours on a terminal", shown)
    percents = {int(n) for n in re.findall(rb"(\d+) % ", shown)}
    assert_that(len(percents) > 5 and "█".encode() in shown and b"\r\x1b[2K" in shown, f"no bar that moves ({percents})", shown)
    # Nothing of it is left: the last that is done to its line is to empty it.
    assert_that(b"% " not in shown[shown.rindex(b"\x1b[2K"):], "the bar stays", shown)
    for name, env in (("no-color", {"NO_COLOR": "1"}), ("clicolor", {"CLICOLOR": "0"})):
        shown = Terminal(replay(binary, fixture, f"{place}/{name}"), env).ends()
        assert_that(not COLOUR.search(shown) and b" % " in shown, f"{env}: colours, or no bar", shown)
    # An empty NO_COLOR says nothing: https://no-color.org.
    assert_that(COLOUR.search(Terminal(replay(binary, fixture, f"{place}/b"), {"NO_COLOR": ""}).ends()), "an empty NO_COLOR", b"")
    print("a bar and colours on a terminal; no colours with NO_COLOR or CLICOLOR=0")


def lines(binary, fixture, place):
    # Longer than the five seconds between two lines.
    slow = "1000x"
    shown = Terminal(replay(binary, fixture, f"{place}/dumb", slow), {"TERM": "dumb"}).ends()
    assert_that(plain(shown) and re.search(rb"^activity: \d+ %, .* records", shown, re.M), "a dumb terminal", shown)
    print("plain lines on a dumb terminal")


def pipes(binary, fixture, place):
    piped = subprocess.run(replay(binary, fixture, f"{place}/piped", "1000x"), capture_output=True, env=BARE | {"TERM": "xterm-256color"})
    assert piped.returncode == 0, piped.stderr
    assert_that(plain(piped.stdout) and piped.stdout, "standard output, piped", piped.stdout)
    assert_that(plain(piped.stderr) and re.search(rb"^activity: \d+ %, ", piped.stderr, re.M), "standard error, piped", piped.stderr)
    # Only standard error is a terminal, as with `tidegate > file`.
    with open(f"{place}/summary", "wb") as file:
        shown = Terminal(replay(binary, fixture, f"{place}/mixed"), {}, stdout=file).ends()
    assert_that(b"\r\x1b[2K" in shown, "no bar beside a redirected result", shown)
    summary = open(f"{place}/summary", "rb").read()
    assert_that(plain(summary) and b"20,000" in summary, "the result in a file", summary)
    # Messages for programs stay objects.
    with open(f"{place}/summary", "wb") as file:
        shown = Terminal([*replay(binary, fixture, f"{place}/json"), "--log-format", "json"], {}, stdout=file).ends()
    said = [json.loads(line) for line in shown.decode().splitlines()]
    assert said and all("message" in line for line in said), shown
    print(f"plain lines in pipes and files; {len(said)} messages, each an object, with --log-format json")


def helps(binary):
    """Help of every command fits in 80 columns, and has colours only where it may."""
    count, commands = 0, [[]]
    while commands:
        path = commands.pop()
        shown = Terminal([binary, *path, "--help"], {"NO_COLOR": "1"}).ends()
        assert_that(b"\x1b" not in shown, f"help of {path} with NO_COLOR", shown)
        text = shown.decode()
        count += 1
        for line in text.splitlines():
            assert len(line) <= 80, f"help of {path} is wider than 80 columns: {line}"
        listed = text.split("\nCommands:\r\n")[1].split("\r\n\r\n")[0] if "\nCommands:\r\n" in text else ""
        commands += [[*path, name] for name in re.findall(r"^  ([a-z][a-z-]*)", listed, re.M) if name != "help"]
    assert count > 35, count
    assert_that(COLOUR.search(Terminal([binary, "--help"], {}).ends()), "help on a terminal", b"")
    # Where CI is set too, which many programs take for leave to colour.
    shown = Terminal([binary, "no-such-command"], {"TERM": "dumb", "CI": "true"}).ends(2)
    assert_that(plain(shown) and b"no-such-command" in shown, "an error on a dumb terminal", shown)
    print(f"help of {count} commands fits in 80 columns")


def listings(binary, fixture, place, url):
    """With --json standard output is a document, on a terminal too."""
    checkpoint = f"{place}/live.checkpoint"
    for command in (["top", "--url", url], ["checkpoint", "list", "--checkpoint", checkpoint], ["checkpoint", "show", "--checkpoint", checkpoint],
                    ["tap", "user_activity", "--fixture", fixture], ["graph", "activity"], ["validate"], ["doctor"]):
        shown = Terminal([binary, *command, "--json"], {}, stderr=subprocess.DEVNULL).ends()
        assert_that(b"\x1b" not in shown, f"{command}: not only a document", shown)
        try:
            documents = json.loads(shown)
        except json.JSONDecodeError:
            # One a line, as of `tap`, which may go on for ever.
            documents = [json.loads(line) for line in shown.decode().splitlines()]
        assert documents, command
    print("--json gives documents on a terminal")


def top(binary, url, run):
    watch = [binary, "top", "--url", url, "--every", "200ms"]
    presses = {"q": lambda t: os.write(t.keyboard, b"q"), "Ctrl-C": lambda t: os.write(t.keyboard, b"\x03"),
               "Ctrl-C twice": lambda t: os.write(t.keyboard, b"\x03\x03"), "SIGTERM": lambda t: t.process.send_signal(signal.SIGTERM)}
    for name, press in presses.items():
        terminal = Terminal(watch, {})
        # More than once, and over what was there before.
        terminal.until("two states", lambda shown: shown.count(b"\x1b[H") > 2 and b"user_activity-0" in shown)
        press(terminal)
        left_well(terminal, terminal.ends(), name)
    terminal = Terminal(watch, {"TERM": "dumb"})
    shown = terminal.ends()
    assert_that(plain(shown) and b"user_activity-0" in shown, "top on a dumb terminal", shown)
    # The run ends: it is told once the terminal is as it was.
    terminal = Terminal(watch, {})
    terminal.until("a state", lambda shown: b"user_activity-0" in shown)
    run.send_signal(signal.SIGTERM)
    shown = terminal.ends(1)
    left_well(terminal, shown, "the end of the run")
    assert_that(b"no answer from" in shown[shown.rindex(b"\x1b[?1049l"):], "nobody is told that the run has ended", shown)
    print("top draws, ends with q, Ctrl-C, SIGTERM and the run, and leaves the terminal as it was")


def left_well(terminal, shown, name):
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?7l", b"\x1b[?7h")):
        assert_that(shown.count(on) == 1 == shown.count(off) and shown.index(on) < shown.index(off), f"{name}: {on} and {off}", shown)
    assert terminal.before == terminal.after, f"{name}: the terminal is not as it was: {terminal.before}, {terminal.after}"
    for screen in shown.split(b"\x1b[H")[1:]:
        assert_that(screen.count(b"\n", 0, screen.find(b"\x1b[J")) < 24, f"{name}: more lines than there is room for", screen)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        # No settings but the defaults.
        os.chdir(place)
        fixture = f"{place}/fixture"
        subprocess.run([binary, "generate", "activity", "--fixture", fixture, "--records", "20000", "--span", "2h", "--partitions", "2"],
                       check=True, capture_output=True, env=BARE)
        url = f"http://127.0.0.1:{free_port()}"
        command = [binary, "run", "activity", "--fixture", fixture, "--out", f"{place}/live", "--speed", "10x", "--epoch", "200ms", "--web", url[7:]]
        with open(f"{place}/log", "wb") as log:
            run = subprocess.Popen(command, stdout=log, stderr=log, env=BARE)
        try:
            deadline = time.monotonic() + PATIENCE
            while not glob.glob(f"{place}/live.checkpoint/**/manifest-*.tg", recursive=True):
                assert run.poll() is None and time.monotonic() < deadline, open(f"{place}/log").read()
                time.sleep(0.1)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                tests = [pool.submit(bars, binary, fixture, place), pool.submit(lines, binary, fixture, place),
                         pool.submit(pipes, binary, fixture, place), pool.submit(helps, binary)]
                listings(binary, fixture, place, url)
                top(binary, url, run)
                for test in tests:
                    test.result()
        finally:
            run.kill()
            run.wait()


main()
