"""How svccfg cuts its commands into tokens: by rules of its own, whatever the shell has quoted before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BUFFER = 2048  # bytes, the end mark included
COMMAND_WORDS = """
    validate import export archive restore apply extract repository inventory set end exit quit help list add delete
    select unselect listpg addpg delpg delhash listprop setprop delprop editprop describe addpropvalue delpropvalue
    setenv unsetenv listsnap selectsnap revert refresh cleanup delnotify setnotify listnotify
"""
KEYWORDS = frozenset(COMMAND_WORDS.split())
FORM = re.compile(
    r"(?P<blank>[ \t]+)|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<sign>[>=()])"
    r'|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[^ \t\n">=()]+)',
)


@dataclass(frozen=True)
class Token:
    """A token: ``kind`` is command, word, string, newline or one of ``> = ( )``; a string keeps its outer quotes."""

    kind: str
    text: str
    line: int


class Unrecognized(Exception):
    """A character that begins no token: svccfg ends at once."""


def joined(words: Sequence[str]) -> str:
    """The words after the options as svccfg puts them together: each with a blank, silently cut at its buffer's end."""
    whole = b"".join(os.fsencode(word) + b" " for word in words)
    return os.fsdecode(whole[: BUFFER - 1])


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text one by one, so that commands before an unrecognized character are carried out.

    The text always ends with a newline token: svccfg puts one where its input ends. Command words are such only where
    a command begins, even inside parentheses, and after an unknown word too.
    """
    if not text.endswith("\n"):
        text += "\n"
    place, line, begins = 0, 1, True
    while place < len(text):
        match = FORM.match(text, place)
        if match is None:
            raise Unrecognized(text[place])
        place = match.end()
        kind, found = str(match.lastgroup), match.group()
        if kind == "newline":
            yield Token("newline", found, line)
            line, begins = line + 1, True  # newlines within strings are not counted
        elif kind == "string":
            yield Token("string", re.sub(r"\\(.)", r"\1", found), line)
        elif kind == "word":
            command = begins and found in KEYWORDS
            yield Token("command" if command else "word", found, line)
            begins = begins and (not command or found == "help")
        elif kind == "sign":
            yield Token(found, found, line)
