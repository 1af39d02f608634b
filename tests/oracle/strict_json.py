"""JSON as RFC 8259 writes it, and nothing else; with the further refusals of contract section 6.

A value becomes a `Node` that keeps its own text with the white space between tokens taken out, so that
"the compact JSON of a member" is what its producer wrote: same digits, same escapes, same member order.
"""

import math
import re

MAX_DEPTH = 128

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class NotJson(Exception):
    """The text is not one JSON value that the contract accepts."""


class Node:
    """A value: `kind` is object, array, string, integer, fraction, true, false or null."""

    __slots__ = ("kind", "value", "compact", "span")

    def __init__(self, kind, value, compact):
        self.kind = kind
        # object: list of (name, name's text, Node) in document order; array: list of Node; string: str;
        # integer: int; the others: None
        self.value = value
        self.compact = compact
        self.span = None  # where it stands in the text that was parsed


def decode_string(token):
    """What a string token says; refuses half a surrogate pair."""
    if "\\" not in token:
        return token[1:-1]
    units = []
    body = token[1:-1]
    at = 0
    for match in _ESCAPE.finditer(body):
        units.extend(body[at : match.start()])
        at = match.end()
        units.append(int(match.group(1), 16) if match.group(1) else _SHORT[match.group(2)])
    units.extend(body[at:])
    out = []
    i = 0
    while i < len(units):
        unit = units[i]
        i += 1
        if isinstance(unit, str):
            out.append(unit)
        elif 0xD800 <= unit <= 0xDBFF:
            low = units[i] if i < len(units) else None
            if not isinstance(low, int) or not 0xDC00 <= low <= 0xDFFF:
                raise NotJson("a high surrogate without its low one")
            i += 1
            out.append(chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)))
        elif 0xDC00 <= unit <= 0xDFFF:
            raise NotJson("a low surrogate without its high one")
        else:
            out.append(chr(unit))
    return "".join(out)


def parse(text):
    """The one value that `text` holds, white space around it allowed."""
    node, at = _value(text, _skip(text, 0), 0)
    if _skip(text, at) != len(text):
        raise NotJson("something follows the value")
    return node


def _skip(text, at):
    return _SPACE.match(text, at).end()


def _value(text, at, depth):
    node, end = _unplaced(text, at, depth)
    node.span = at, end
    return node, end


def _unplaced(text, at, depth):
    if at >= len(text):
        raise NotJson("the text ends too early")
    first = text[at]
    if first == "{":
        return _object(text, at, depth + 1)
    if first == "[":
        return _array(text, at, depth + 1)
    if first == '"':
        token, end = _string_token(text, at)
        return Node("string", decode_string(token), token), end
    for word in ("true", "false", "null"):
        if text.startswith(word, at):
            return Node(word, None, word), at + len(word)
    match = _NUMBER.match(text, at)
    if match is None:
        raise NotJson("no value where one must be")
    token = match.group()
    if math.isinf(float(token)):
        raise NotJson("a number beyond f64")
    if match.group(1) or match.group(2):
        return Node("fraction", None, token), match.end()
    # A thousand digits are no time and no count: the value is only needed where it can be one.
    return Node("integer", int(token) if len(token) < 40 else 10**40, token), match.end()


def _string_token(text, at):
    match = _STRING.match(text, at)
    if match is None:
        raise NotJson("a broken string")
    return match.group(), match.end()


def _object(text, at, depth):
    if depth > MAX_DEPTH:
        raise NotJson("nested too deep")
    members = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return Node("object", members, "{}"), at + 1
    while True:
        if text[at : at + 1] != '"':
            raise NotJson("a member without a name")
        token, at = _string_token(text, at)
        name = decode_string(token)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise NotJson("a name without a colon")
        node, at = _value(text, _skip(text, at + 1), depth)
        members.append((name, token, node))
        at = _skip(text, at)
        end = text[at : at + 1]
        at += 1
        if end == "}":
            compact = "{" + ",".join(t + ":" + n.compact for _, t, n in members) + "}"
            return Node("object", members, compact), at
        if end != ",":
            raise NotJson("an object that does not go on")
        at = _skip(text, at)


def _array(text, at, depth):
    if depth > MAX_DEPTH:
        raise NotJson("nested too deep")
    items = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return Node("array", items, "[]"), at + 1
    while True:
        node, at = _value(text, at, depth)
        items.append(node)
        at = _skip(text, at)
        end = text[at : at + 1]
        at += 1
        if end == "]":
            return Node("array", items, "[" + ",".join(n.compact for n in items) + "]"), at
        if end != ",":
            raise NotJson("an array that does not go on")
        at = _skip(text, at)
