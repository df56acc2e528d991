"""What was looked at or done, how it stands, and what to do about it; each is said in one line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`detail` and `remedy` are whole sentences; one that is `ok` and has a remedy all the same is a note."""

    name: str
    ok: bool
    detail: str
    hint: str = ""

    @property
    def line(self) -> str:
        """The finding for an operator; what has to be done stands behind what is wrong."""
        mark = "FAIL" if not self.ok else "note" if self.hint else "ok"
        return f"{mark:4}  {self.name}: {self.detail} {self.hint}".rstrip()


def ok(name: str, detail: str) -> Finding:
    """All is as it should be."""
    return Finding(name, ok=True, detail=detail)


def warning(name: str, detail: str, remedy: str) -> Finding:
    """It works like this, and there is something to know."""
    return Finding(name, ok=True, detail=detail, hint=remedy)


def failure(name: str, detail: str, remedy: str) -> Finding:
    """It does not work like this."""
    return Finding(name, ok=False, detail=detail, hint=remedy)
