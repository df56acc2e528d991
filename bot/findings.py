"""The result of one check or step, as one line for the operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`detail` and `hint` are whole sentences. A finding that is `ok` and has a hint is a warning."""

    name: str
    ok: bool
    detail: str
    hint: str = ""

    @property
    def line(self) -> str:
        """Result, name, detail and hint."""
        result = "FAIL" if not self.ok else "note" if self.hint else "ok"
        return f"{result:4}  {self.name}: {self.detail} {self.hint}".rstrip()


def ok(name: str, detail: str) -> Finding:
    """Nothing to do."""
    return Finding(name, ok=True, detail=detail)


def warning(name: str, detail: str, hint: str) -> Finding:
    """It works, but the operator should know."""
    return Finding(name, ok=True, detail=detail, hint=hint)


def failure(name: str, detail: str, hint: str) -> Finding:
    """It does not work."""
    return Finding(name, ok=False, detail=detail, hint=hint)
