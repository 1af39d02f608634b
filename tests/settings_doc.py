#!/usr/bin/env python3
"""docs/settings.md, every setting with its default, out of config/dev.yaml, which `tidegate validate` knows to have them all.

usage: settings_doc.py [--write]     without it: ends with 1 where the page is not what it would be
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, PAGE = ROOT / "config/dev.yaml", ROOT / "docs/settings.md"
HEAD = """# Settings

Every setting, with its default. They are written in YAML, as in `config/dev.yaml`, from whose comments this page is made
(`tests/settings_doc.py --write`); a setting is also a variable of the environment: `activity.sinks.tables` is
`TIDEGATE_ACTIVITY_SINKS_TABLES`. Of `config/dev.yaml`, `--config FILE`, `.env` and the environment the later wins. `tidegate validate` checks
them all, and says which are in effect; `tidegate schema` prints them for editors. Secrets come from the environment only
([security](security.md)).

Durations are numbers with units (500ms, 30s, 2m, 1h 30m, 7days), sizes 2048, 64KiB, 1MiB.
"""


def settings():
    """Each line's path, default (None of a section) and comment."""
    path, comment, lines = [], [], SOURCE.read_text().splitlines()
    # The head of the file is about all of it.
    lines = lines[lines.index("") :]
    for number, line in enumerate(lines):
        said = re.fullmatch(r"( *)# ?(.*)", line)
        made = re.fullmatch(r"( *)([A-Za-z_]+):(?: (.*))?", line)
        if said:
            comment.append(said[2])
        elif made:
            del path[len(made[1]) // 2 :]
            path.append(made[2])
            value = made[3]
            if value and value.startswith("{") and not value.endswith("}"):
                value += " " + lines[number + 1].strip()
            yield list(path), value, comment
            comment = []
        elif not line:
            comment = []


def page():
    out, group = [HEAD], None
    cell = lambda text: text.replace("|", "\\|").replace("<", "&lt;")
    for path, value, comment in settings():
        section = path[0] if value is None or len(path) > 1 else ""
        if section != group:
            group = section
            title = f"Section `{section}`" if section else "At the top"
            about = " ".join(comment) + "\n\n" if section and comment else ""
            out.append(f"\n## {title}\n\n{about}| setting | default | |\n| --- | --- | --- |\n")
            if section:
                continue
        # What is indented is an example.
        says = " ".join(text for text in comment if not text.startswith(" ")).removesuffix(" For example")
        if says.endswith(":"):
            says = says[:-1] + "."
        default = "" if value is None else f"`{value}`"
        out.append(f"| `{'.'.join(path)}` | {default} | {cell(says)} |\n")
    return "".join(out)


if sys.argv[1:] == ["--write"]:
    PAGE.write_text(page())
elif not PAGE.exists() or PAGE.read_text() != page():
    sys.exit(f"{PAGE} is not what {SOURCE} says: tests/settings_doc.py --write")
else:
    print(f"{PAGE.name} has the {sum(value is not None for _, value, _ in settings())} settings of {SOURCE.name}")
