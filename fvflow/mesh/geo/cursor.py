"""A place in the tokens of a geometry, and the tokens that were admitted so far."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.mesh.geo.tokens import Token, refusal

TRUST = "give --trust to run the file as gmsh does"
"""What else to do about a refusal."""


class Cursor:
    """Goes through the tokens once and keeps those that gmsh is to read."""

    def __init__(self, given: list[Token], source: str) -> None:
        self.source, self._tokens, self._next = source, given, 0
        self._kept: list[Token] = []

    @property
    def here(self) -> Token:
        """The next token."""
        return self._tokens[self._next]

    @property
    def before(self) -> Token:
        """The token before; the end at the beginning."""
        return self._tokens[self._next - 1]

    @property
    def after(self) -> Token:
        """The token after the next."""
        return self.ahead(1)

    def ahead(self, count: int) -> Token:
        """The token so many places after the next, or the end."""
        return self._tokens[min(self._next + count, len(self._tokens) - 1)]

    def keep(self) -> Token:
        """Admit the next token and go on."""
        token = self.here
        self._kept.append(token)
        self._next += 1
        return token

    def skip(self, count: int = 1) -> None:
        """Leave out tokens."""
        self._next += count

    def expect(self, *signs: str) -> Token:
        """Admit the next token, one of some signs; raises CaseError if it is another."""
        if self.here.kind != "sign" or self.here.text not in signs:
            raise self.refused(self.here, f"expected {' or '.join(signs)}, got {self.here.text or 'the end'}")
        return self.keep()

    def refused(self, token: Token, what: str) -> CaseError:
        """The error for a token, with both remedies."""
        return refusal(self.source, token, f"{what}; correct it, or {TRUST}")

    def kept_text(self) -> str:
        """The admitted tokens, in the lines where they were."""
        lines: dict[int, list[str]] = {}
        for token in self._kept:
            lines.setdefault(token.line, []).append(str(token))
        return "".join(" ".join(lines.get(line, ())) + "\n" for line in range(1, max(lines, default=0) + 1))
