"""The tokens of a .geo text and their places; comments are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fvflow.errors import CaseError

_LONGEST = {"name": 64, "text": 200, "number": 64, "sign": 3}  # characters; gmsh cuts texts of 1023, and runs the rest
_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\r?\n|//[^\n]*|/\*.*?\*/)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<text>"[^"\n]*"|'[^'\n]*')
    |(?P<sign>\.\.\.|\+\+|--|[-+*/=!<>]=|&&|\|\||(?!::|<<|>>)[-+*/%^=<>!?:;,.(){}\[\]\#])""",
    re.VERBOSE | re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_IN_TEXT = re.compile(r"""[\\"'\t]|EndIf|Else|If|EndFor|For|Macro|Function|Return""")


@dataclass(frozen=True, slots=True)
class Token:
    """A number, a name, a text without its quotes, or a sign; the last token of a script is of kind end."""

    kind: str
    """number, name, text, sign or end."""
    text: str
    """How it is written."""
    line: int
    """Its line, counted from 1."""
    column: int
    """Its column, counted from 1."""

    def is_sign(self, signs: str) -> bool:
        """Whether it is one of some signs of one character."""
        return self.kind == "sign" and self.text in signs

    def is_name(self, *names: str) -> bool:
        """Whether it is one of some names."""
        return self.kind == "name" and self.text in names

    def __str__(self) -> str:
        """The token as gmsh reads it."""
        return f'"{self.text}"' if self.kind == "text" else self.text


def refusal(source: str, token: Token, sentence: str) -> CaseError:
    """The error for a token of a script: file:line:column: what is wrong and what to do."""
    return CaseError(f"{source}:{token.line}:{token.column}: {sentence}")


def tokens(text: str, source: str) -> list[Token]:
    """The tokens of a script; raises CaseError for characters that gmsh and fvflow could read differently."""
    return list(_tokens(text, source))


def _tokens(text: str, source: str) -> Iterator[Token]:
    place, line, start = 0, 1, 0
    while place < len(text):
        here = Token("sign", text[place], line, place - start + 1)
        found = _TOKEN.match(text, place)
        if found is None:
            raise refusal(source, here, _unreadable(text, place))
        kind, word = str(found.lastgroup), found.group()
        if kind == "text":
            yield _plain(_of_usual_length(Token(kind, word[1:-1], here.line, here.column), source), source)
        elif kind != "blank":
            yield _of_usual_length(Token(kind, word, here.line, here.column), source)
        elif odd := _CONTROL.search(word.replace("\r\n", "\n")):
            raise refusal(source, here, f"a comment or blank with the character {odd.group()!r}; remove that character")
        if newlines := word.count("\n"):
            line, start = line + newlines, place + word.rindex("\n") + 1
        place = found.end()
    yield Token("end", "", line, place - start + 1)


def _unreadable(text: str, place: int) -> str:
    """What is wrong where no token begins."""
    if text.startswith("/*", place):
        return "a comment without its end; close it by */"
    if text[place] in "\"'":
        return f"a text without its closing {text[place]} in the same line; close it"
    if text.startswith(("::", "<<", ">>"), place):
        return f"{text[place : place + 2]} is no part of a geometry (to write to a file is not allowed); remove it"
    return f"the character {text[place]!r} is no part of a geometry; remove it"


def _of_usual_length(token: Token, source: str) -> Token:
    longest = _LONGEST[token.kind]
    if len(token.text) > longest:
        raise refusal(source, token, f"a {token.kind} of {len(token.text)} characters; write at most {longest}")
    return token


def _plain(token: Token, source: str) -> Token:
    """The text; refused if gmsh, which searches texts for the ends of conditions and loops, could leave it early."""
    odd = _IN_TEXT.search(token.text) or _CONTROL.search(token.text)
    if odd:
        what = odd.group() if odd.group().isalpha() else repr(odd.group())
        raise refusal(source, token, f"a text with {what} in it, which gmsh may take for code; write it another way")
    return token
