"""The ways a run can be refused or fail; each carries the exit code of the command line."""


class FvflowError(Exception):
    """A refusal in one sentence: what was got, what is allowed, what to do.

    Of several arguments each is a line of its own; a line break within one came from what is quoted.
    """

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class CaseError(FvflowError):
    """The case cannot be run as it is written."""

    exit_code = 3


class NumericsError(FvflowError):
    """The computation was refused or failed; the frames so far are kept."""

    exit_code = 4


class OutputError(FvflowError):
    """A file could not be read or written."""

    exit_code = 5
