"""svccfg: its options, where its commands come from, and how it reports."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Sequence

from .complaints import Complaint
from .configuration import Session
from .grammar import SyntaxMistake, commands
from .lexing import Unrecognized, joined
from .places import Place

USAGE = "Usage:\tsvccfg [-v] [-z zone] [-s FMRI] [-f file]\n\tsvccfg [-v] [-z zone] [-s FMRI] <command> [args]\n"


def run(place: Place, words: Sequence[str]) -> int:
    """Carry out svccfg's commands; the exit code. It ends at the first command that fails."""
    try:
        options, rest = getopt.getopt(list(words), "vf:s:z:")
    except getopt.GetoptError as error:
        sys.stderr.write(f"svccfg: {'option requires an argument' if error.opt in 'fsz' else 'illegal option'}")
        sys.stderr.write(f" -- {error.opt}\n{USAGE}")
        return 2
    given = dict(options)
    if "-z" in given:
        sys.stderr.write("svccfg: svccfg -z may only be used from the global zone\n")
        return 1
    session = Session(place)
    source = ""
    try:
        if "-s" in given:
            session.select(given["-s"])
        if "-f" in given or not rest:
            file = given.get("-f", "-")
            source = "<stdin>" if file == "-" else file
            text = _read(file)
        else:
            text = joined(rest)
    except Complaint as complaint:
        sys.stderr.write(f"svccfg: {complaint.text}\n")
        return complaint.code
    return _execute(session, text, source)


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.buffer.read().decode(errors="surrogateescape")
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError as error:
        raise Complaint(f'Cannot open file "{file}": {error.strerror}.') from error


def _execute(session: Session, text: str, source: str) -> int:
    def say(line: int, what: str) -> None:
        sys.stdout.flush()
        sys.stderr.write(f"svccfg{f' ({source}, line {line})' if source else ''}: {what}\n")

    try:
        for command in commands(text):
            try:
                if not session.carry_out(command):
                    return 0
            except Complaint as complaint:
                say(command.line, complaint.text)
                return complaint.code
    except SyntaxMistake as mistake:
        say(mistake.line, "Syntax error.")
        return 1
    except Unrecognized as error:
        sys.stdout.flush()
        sys.stderr.write(f"svccfg: unrecognized character {error}\n")
        return 1
    return 0
