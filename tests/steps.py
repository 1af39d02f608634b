"""What the scripts have in common that disturb a run over a recorded log: starting it, waiting for what it has decided, comparing."""

import atexit
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 90.0
# Whoever is ended leaves nothing behind either.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def wait_for(what, condition, patience=PATIENCE, runs=()):
    """Until the condition gives something; there is a deadline, since what is waited for may never come. None of `runs` may end before."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        for run in runs:
            if run.process.poll() is not None:
                run.fail(f"it ended with {run.process.returncode} before: {what}")
        if time.monotonic() > deadline:
            for run in runs:
                print(run.said()[-3000:], file=sys.stderr)
            sys.exit(f"it does not happen within {patience:.0f} s: {what}")
        time.sleep(0.005)
    return found


class Run:
    """A process of the program, with what it says in a file; it ends with this one, and its own processes with it."""

    def __init__(self, command, log, **options):
        self.log = Path(log)
        with self.log.open("wb") as to:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=to, stderr=to, start_new_session=True, **options
            )
        atexit.register(self.kill)

    def said(self):
        return self.log.read_text(errors="replace")

    def fail(self, what):
        sys.exit(f"{what}\n{self.said()[-3000:]}")

    def ends(self, code, *said, patience=3 * PATIENCE):
        """It ends by itself with this exit code, and has said each of these."""
        try:
            found = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.fail(f"it does not end within {patience:.0f} s")
        if found != code:
            self.fail(f"exit code {found} in place of {code}")
        for words in said:
            if not re.search(words, self.said()):
                self.fail(f"it does not say: {words}")

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def epochs(folder):
    """The epochs of whose manifests something lies in a directory."""
    found = (re.fullmatch(r"manifest-(\d+)\.(tg|copy)", path.name) for path in Path(folder).glob("manifest-*"))
    return sorted({int(match[1]) for match in found if match})


def same(expected, got, *more):
    """What two runs over one log have left is the same."""
    subprocess.run([sys.executable, HERE / "same_output.py", expected, got, *more], check=True)
