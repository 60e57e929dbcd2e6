"""The one exception that means: the person, not the program, can mend this."""


class BadInput(ValueError):
    """One clear sentence: what was expected, what came, what to do.

    The command line prints it without a traceback and exits with code 2. Raise it before any weight is loaded
    wherever that is possible. Several problems found at once are joined with newlines, one sentence a line.
    """
