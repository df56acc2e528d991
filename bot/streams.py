"""Makes the standard streams safe to write to, however the program was started."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Opens closed standard streams on the null device, and escapes characters that an encoding lacks.

    A closed stream would leave its number to the next file that is opened, such as the database.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole program
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_null(stream: object) -> bool:
    """Whether what is written to the stream is lost, because it was closed at the start."""
    return getattr(stream, "name", "") == os.devnull


def is_unicode(stream: object) -> bool:
    """Whether the stream can encode every character."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")
