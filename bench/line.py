"""What a benchmark finds: one line of the table for each target."""

from dataclasses import dataclass

_NONE = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """One target, what was measured of it, and whether it was met.

    ``measured`` is what the target speaks of; ``details`` are the figures that it comes from, which only
    speak of this machine.
    """

    what: str
    target: str
    measured: str
    met: bool
    details: str = ""

    @property
    def has_target(self) -> bool:
        """Whether there is anything to be met."""
        return self.target != _NONE


def reported(what: str, measured: str, details: str = "") -> Line:
    """Return the line of a figure that is only told."""
    return Line(what, _NONE, measured, met=True, details=details)


def at_least(what: str, target: float, measured: float, details: str = "", unit: str = "x") -> Line:
    """Return the line of a figure that must not be smaller than its target."""
    return Line(what, f"≥ {target:g}{unit}", f"{measured:.2f}{unit}", measured >= target, details)


def at_most(what: str, target: float, measured: float, details: str = "", unit: str = "x") -> Line:
    """Return the line of a figure that must not be larger than its target."""
    return Line(what, f"≤ {target:g}{unit}", f"{measured:.2f}{unit}", measured <= target, details)
