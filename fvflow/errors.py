"""The ways a run can be refused or fail; each carries the exit code of the command line."""


class FvflowError(Exception):
    """A refusal in one sentence: what was got, what is allowed, what to do."""

    exit_code = 1


class CaseError(FvflowError):
    """The case cannot be run as it is written."""

    exit_code = 3


class NumericsError(FvflowError):
    """The computation was refused or failed; the frames so far are kept."""

    exit_code = 4


class OutputError(FvflowError):
    """A file could not be read or written."""

    exit_code = 5
