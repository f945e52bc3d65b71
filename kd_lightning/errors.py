"""The one exception that stands for bad input."""


class UserError(ValueError):
    """Bad input: one line that names the key, its value and the remedy.

    The commands print it without a traceback and exit with code 2.
    """
