"""A geometry of gmsh, admitted statement by statement.

gmsh's language runs programs, reads and writes files. The statements here only compute: what gmsh is given is made of
the tokens that were admitted, written out anew, so that it reads what was checked. Every name is a word of the lists in
`words` or a variable that the script has set, and texts stand only where names and formulas do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from fvflow.errors import CaseError
from fvflow.mesh.geo import words
from fvflow.mesh.geo.cursor import TRUST, Cursor
from fvflow.mesh.geo.texts import any_text, formula, no_text, number_format
from fvflow.mesh.geo.tokens import Token, refusal, tokens

LARGEST = 2**22
"""Characters of a geometry."""

_ASSIGNMENTS = ("=", "+=", "-=", "*=", "/=")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_WORDS = words.STATEMENTS | words.FUNCTIONS | words.CONSTANTS | words.INNER
_OPTIONS = ("Mesh", "Geometry")
TextFault = Callable[[str], str]


def harmless_script(text: str, source: str) -> str:
    """The script as gmsh may read it: the admitted tokens, line by line, without comments.

    Raises CaseError with source:line:column for whatever does more than describe a geometry and its mesh.
    """
    if len(text) > LARGEST:
        raise CaseError(f"{source}: has {len(text)} characters; a geometry has at most {LARGEST}")
    return _Script(tokens(text, source), source).admitted()


class _Script(Cursor):
    """The rules of statements, over the tokens of a script."""

    def __init__(self, given: list[Token], source: str) -> None:
        super().__init__(given, source)
        self._variables: set[str] = set()
        self._texts: set[str] = set(words.TEXT_FUNCTIONS)  # names that are, or may be, texts

    def admitted(self) -> str:
        """All statements, in the lines where they were."""
        while self.here.kind != "end":
            self._statement()
        return self.kept_text()

    # statements

    def _statement(self) -> None:
        lead = self.here
        if lead.is_sign(";"):
            self.keep()
        elif lead.kind != "name":
            raise self.refused(lead, f"a statement cannot begin with {lead.text!r}")
        elif lead.text in self._rules:
            self._rules[lead.text](self)
        elif lead.text in words.STATEMENTS:
            self.keep()
            named = any_text if lead.text == "Physical" else no_text
            self._rest(lead, brace_ends=lead.text in words.BLOCKS, text_fault=named)
        else:
            self._assignment()

    def _assignment(self) -> None:
        """A variable or an element of one, and its value: numbers, a list or a text."""
        name = self.here
        if self.after.kind != "sign" or self.after.text not in (*_ASSIGNMENTS, "(", "[", "++", "--"):
            raise self._unknown(name)
        self._require_free(name)
        self._variables.add(name.text)
        self.keep()
        if self.here.is_sign("(["):
            self._group()
        if self.here.text in ("++", "--"):
            self.keep()
        else:
            self.expect(*_ASSIGNMENTS)
        text = self._begins_text()
        if text:
            self._texts.add(name.text)
        self._rest(name, text_fault=any_text if text else no_text)

    def _begins_text(self) -> bool:
        return self.here.kind == "text" or self.here.is_name(*words.TEXT_FUNCTIONS)

    def _require_free(self, name: Token) -> None:
        if name.text in words.REFUSED or name.text in _WORDS or name.text in self._rules:
            raise self._unknown(name)
        if re.search("EndIf|Else|EndFor", name.text):
            raise self.refused(name, f"{name.text} may be taken for the end of a condition or a loop")

    def _rest(self, lead: Token, brace_ends: bool = False, text_fault: TextFault = no_text) -> None:
        """The tokens up to the end of a statement: a semicolon or, for a block, a brace that nothing continues."""
        depth = 0
        while not (depth == 0 and self.here.is_sign(";")):
            if self.here.kind == "end":
                raise self.refused(lead, f"the statement {lead.text} has no end (a semicolon)")
            closed = self.here.is_sign("}")
            depth += self._operand(text_fault)
            if depth < 0:
                raise self.refused(self.before, f"{self.before.text} closes nothing")
            if closed and depth == 0 and brace_ends and self._starts_anew():
                return
        self.keep()

    def _starts_anew(self) -> bool:
        """Whether the token after a closing brace begins another statement."""
        return self.here.kind == "end" or (self.here.kind == "name" and self.here.text not in words.CONTINUING)

    def _group(self, text_fault: TextFault = no_text) -> None:
        """What stands from an opening bracket here to the closing one."""
        opening, depth = self.here, 0
        while True:
            if self.here.kind == "end" or self.here.is_sign(";"):
                raise self.refused(opening, f"{opening.text} is not closed")
            depth += self._operand(text_fault)
            if depth <= 0:
                return

    def _operand(self, text_fault: TextFault = no_text) -> int:
        """Admit one token inside a statement; returns by how much it opens (1) or closes (-1) brackets."""
        token = self.here
        if token.kind == "text" or token.is_name(*self._texts):
            self._require_text(token, text_fault)
        if token.is_name(*_OPTIONS) and self.after.is_sign("."):
            self._option()
            return 0
        if token.is_name("Sprintf"):
            self._require_format()
        elif token.kind == "name":
            self._require_known(token)
        elif token.is_sign("."):
            raise self.refused(token, "a point is for Mesh.Option, Geometry.Option and options of fields")
        self.keep()
        return token.is_sign("([{") - token.is_sign(")]}")

    def _require_text(self, token: Token, text_fault: TextFault) -> None:
        """A text, or a name that stands for one, has to be allowed here."""
        if token.kind == "name":
            fault = no_text(token.text) if text_fault is no_text else ""
        else:
            fault = "" if token.text == "*" else text_fault(token.text)
        if fault:
            raise self.refused(token, fault)

    def _require_known(self, name: Token) -> None:
        if name.text in self._variables:
            if self.after.kind not in ("sign", "end") or self.before.is_sign(")]}"):
                raise self.refused(name, f"the variable {name.text} stands beside another value without a sign")
        elif name.text not in _WORDS or name.text in words.REFUSED:
            raise self._unknown(name)

    def _require_format(self) -> None:
        """The first argument of Sprintf has to be a text that formats numbers."""
        bracket, first = self.after, self.ahead(2)
        fault = number_format(first.text) if first.kind == "text" else "Sprintf needs a format in quotes"
        if fault or not bracket.is_sign("(["):
            raise self.refused(first, fault or "Sprintf needs brackets")

    def _option(self) -> None:
        """The name of an option of the mesh or the geometry."""
        self.keep()
        self.expect(".")
        if self.here.kind != "name":
            raise self.refused(self.here, f"expected the name of an option, got {self.here.text!r}")
        self.keep()

    def _unknown(self, name: Token) -> Exception:
        if name.text in words.REFUSED:
            does = words.REFUSED[name.text]
            return refusal(self.source, name, f"{name.text} {does}; remove it, or {TRUST}")
        if name.text in self._rules or name.text in _WORDS:
            return self.refused(name, f"{name.text} has no place here")
        close = difflib.get_close_matches(name.text, [*_WORDS, *self._variables], n=1, cutoff=0.8)
        guess = f' (did you mean "{close[0]}"?)' if close else ""
        return self.refused(name, f"{name.text} is neither a statement of a geometry nor a variable set above{guess}")

    # statements with rules of their own

    def _condition(self) -> None:
        lead = self.keep()
        if lead.text in ("If", "ElseIf"):
            if not self.here.is_sign("("):
                self.expect("(")
            self._group()

    def _loop(self) -> None:
        self.keep()
        if self.here.kind == "name":
            self._require_free(self.here)
            self._variables.add(self.keep().text)
            if not self.here.is_name("In"):
                raise self.refused(self.here, f"expected In, got {self.here.text!r}")
            self.keep()
        if not self.here.is_sign("({"):
            self.expect("{")
        self._group()

    def _mesh_option(self) -> None:
        lead = self.here
        if not self.after.is_sign("."):
            raise self.refused(lead, f"{lead.text} is for options such as Mesh.Algorithm (fvflow meshes by itself)")
        self._option()
        self.expect(*_ASSIGNMENTS)
        self._rest(lead)

    def _factory(self) -> None:
        self.keep()
        self.expect("(")
        if self.here.kind != "text" or self.here.text not in ("OpenCASCADE", "Built-in"):
            raise self.refused(self.here, 'the factory is "OpenCASCADE" or "Built-in"')
        self.keep()
        self.expect(")")
        self.expect(";")

    def _constants(self) -> None:
        """Values of constants; what else is said of them (names, ranges, choices) is for ONELAB and left out."""
        self.keep()
        closing = _CLOSING[self.expect("[", "(").text]
        while not self.here.is_sign(closing):
            if self.here.kind != "name":
                raise self.refused(self.here, f"expected the name of a constant, got {self.here.text or 'the end'}")
            self._require_free(self.here)
            name = self.keep().text
            self._variables.add(name)
            if self.here.text == "=":
                self.keep()
                self._constant(name, closing)
            if not self.here.is_sign(closing):
                self.expect(",")
        self.keep()
        self.expect(";")

    def _constant(self, name: str, closing: str) -> None:
        braced = self.here.is_sign("{")
        self.skip(braced)
        if self._begins_text():
            self._texts.add(name)
        ends, depth = ("}" if braced else closing) + ",", 0
        while depth or not self.here.is_sign(ends):
            if self.here.kind == "end" or self.here.is_sign(";"):
                raise self.refused(self.here, "a constant without its end")
            depth += self._operand(any_text)
        if braced:
            while depth or not self.here.is_sign("}"):
                if self.here.kind == "end" or self.here.is_sign(";"):
                    raise self.refused(self.here, "a constant without its closing }")
                depth += self.here.is_sign("([{") - self.here.is_sign(")]}")
                self.skip()
            self.skip()

    def _message(self) -> None:
        """A message, which is left out; to a file it is refused."""
        lead = self.here
        while not self.here.is_sign(";"):
            if self.here.kind == "end" or (self.here.is_sign(">") and self.before.is_sign(")")):
                raise refusal(self.source, lead, f"{lead.text} to a file writes it; remove it, or {TRUST}")
            self.skip()
        self.skip()

    def _field(self) -> None:
        """`Field[n] = Kind;` or `Field[n].Option = value;`."""
        lead = self.keep()
        if not self.here.is_sign("[("):
            self.expect("[")
        self._group()
        if self.here.text == "=":
            self.keep()
            self._one_of(words.FIELDS, "a kind of field that computes")
            self.expect(";")
            return
        self.expect(".")
        option = self._one_of(words.FIELD_TEXTS | words.FIELD_NUMBERS, "an option of a field that is a number")
        self.expect(*_ASSIGNMENTS)
        self._rest(lead, text_fault=formula if option.text in words.FIELD_TEXTS else no_text)

    def _one_of(self, allowed: frozenset[str], what: str) -> Token:
        name = self.here
        if name.kind != "name" or name.text not in allowed:
            close = difflib.get_close_matches(name.text, allowed, n=1)
            guess = f' (did you mean "{close[0]}"?)' if close else ""
            raise self.refused(name, f"{name.text} is not {what}{guess}")
        return self.keep()

    _rules: dict[str, Callable[[_Script], None]] = {  # noqa: RUF012 (read only)
        **dict.fromkeys(("If", "ElseIf", "Else", "EndIf", "EndFor"), _condition),
        **dict.fromkeys(("Mesh", "Geometry"), _mesh_option),
        "For": _loop,
        "SetFactory": _factory,
        "DefineConstant": _constants,
        "Printf": _message,
        "Field": _field,
    }
