"""The folder of a case, as its user writes it and as processes elsewhere find it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Folder:
    """A folder by its absolute path, and what stands for that in messages."""

    absolute: str
    written: str

    @staticmethod
    def of(name: str) -> Folder:
        """The folder of a file."""
        return Folder(os.path.join(os.path.dirname(os.path.abspath(name)), ""), os.path.join(os.path.dirname(name), ""))

    def told(self, text: str) -> str:
        """A message about files in the folder, as its user writes their names.

        >>> Folder("/data/cases/", "cases/").told("/data/cases/disc.msh: is empty")
        'cases/disc.msh: is empty'
        """
        return text.replace(self.absolute, self.written)
