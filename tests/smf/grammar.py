"""The grammar of svccfg's commands: which tokens make a command, and where it complains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .lexing import Token, tokens

# Words after the command, fewest and most; "strings" are any number of words and strings.
SHAPES: dict[str, tuple[int, int] | str] = {
    **dict.fromkeys(("unselect", "listsnap", "refresh", "end", "exit", "quit", "editprop"), (0, 0)),
    **dict.fromkeys(("list", "listpg", "listprop", "selectsnap", "revert", "validate"), (0, 1)),
    **dict.fromkeys(("add", "select", "delpg", "delprop", "inventory", "restore"), (1, 1)),
    **dict.fromkeys(("delete", "export", "delhash", "apply", "repository"), (1, 2)),
    **dict.fromkeys(("import", "set", "setenv", "unsetenv", "describe"), "strings"),
    "addpg": (2, 3),
    "archive": (0, 1),
    "extract": (0, 0),
}
OPTIONS = {"delete": "-f", "export": "-a", "delhash": "-d", "apply": "-n", "repository": "-f"}  # before two words


@dataclass(frozen=True)
class Command:
    """One command: for setprop and addpropvalue ``kind`` is the word that should name a type, as it was written.

    ``values`` are several in parentheses, whose strings must be quoted; ``target`` is what stands after ``>``.
    """

    name: str
    words: tuple[str, ...]
    line: int
    kind: str | None = None
    values: tuple[str, ...] | None = None
    target: str = ""


class SyntaxMistake(Exception):
    """What the grammar does not know; ``line`` is the one that svccfg names."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def commands(text: str) -> Iterator[Command]:
    """The commands of a text, one by one. Raises SyntaxMistake and lexing's Unrecognized where they are met."""
    stream = tokens(text)
    for token in stream:
        if token.kind == "newline":
            continue
        if token.kind == "command" and token.text == "setprop":
            yield _setprop(stream, token.line)
            continue
        rest = []
        for one in stream:
            if one.kind == "newline":
                break
            rest.append(one)
        yield _plain(token, rest)


def _plain(token: Token, rest: list[Token]) -> Command:
    name, line = token.text, token.line
    kinds = [one.kind for one in rest]
    words = tuple(one.text for one in rest)
    strings = all(kind in ("word", "string") for kind in kinds)
    if token.kind == "word" and strings:
        return Command("", (name, *words), line)  # an unknown command
    if token.kind == "command":
        shape = SHAPES.get(name, (0, 99))
        if name == "addpropvalue" and strings and kinds[:1] == ["word"] and len(words) in (2, 3):
            return Command(name, (words[0], words[-1]), line, kind=words[1] if len(words) == 3 else None)
        if name == "delpropvalue" and strings and kinds[:1] == ["word"] and len(words) == 2:
            return Command(name, words, line)
        if shape == "strings" and strings:
            return Command(name, words, line)
        target = ""
        if name in ("export", "archive", "extract") and kinds[-2:] == [">", "word"]:
            words, kinds, target = words[:-2], kinds[:-2], words[-1]
        if isinstance(shape, tuple) and name not in ("addpropvalue", "delpropvalue"):
            fits = shape[0] <= len(words) <= shape[1] and set(kinds) <= {"word"}
            if fits and not (len(words) == 2 and name in OPTIONS and words[0] != OPTIONS[name]):
                return Command(name, words, line, target=target)
    raise SyntaxMistake(line)


def _setprop(stream: Iterator[Token], line: int) -> Command:
    """A setprop: its mistakes are noticed at the token itself, whose line is not yet counted then."""

    def take(*kinds: str) -> Token:
        token = next(stream)
        if token.kind not in kinds:
            raise SyntaxMistake(token.line - (token.kind != "newline"))
        return token

    name = take("word").text
    take("=")
    begin = take("word", "string", "(")
    kind = None
    if begin.kind == "word":
        second = take("word", "string", "(", "newline")
        if second.kind == "newline":
            return Command("setprop", (name, begin.text), line)
        kind, begin = begin.text, second
    if begin.kind != "(":
        take("newline")
        return Command("setprop", (name, begin.text), line, kind=kind)
    values = []
    while (one := take("word", "string", "newline", ")")).kind != ")":
        if one.kind != "newline":
            values.append(one.text)
    end = take("newline").line
    return Command("setprop", (name,), end, kind=kind, values=tuple(values))
