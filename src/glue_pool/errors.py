"""The ways in which a run can end without a result."""


class UserError(Exception):
    """Something a user gave (config, data, an encoder, a folder) can't be used.

    The message is what the user reads: one line or two that name the key or file, what is wrong
    with it, and the way out. `glue_pool.train` prints it without a traceback and exits with 2.
    """


class TrainingFailed(Exception):
    """Training ended without a result: a loss that is not finite (the message names the step), or a full disk."""


class Held(Exception):
    """Another process works on this run; the message says which."""
