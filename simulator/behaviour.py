"""Decides how the people and the boxes of a fleet behave: their habits as numbers, and what goes wrong.

Rule: seconds here are simulated seconds; `speed` of them pass in one real second. Timers of the protocol (a router's
retransmissions) are always real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from domain.instants import SECOND_US, Microseconds
from simulator.errors import SimulatorError
from simulator.routeros_faults import SOUND, ApiFaults


class AccountingOn(Enum):
    """Whether a router that boots announces it (RFC 2866 §5.1)."""

    PROFILE = "profile"
    """As its maker does: RouterOS never, the others do."""
    ALWAYS = "always"
    NEVER = "never"


class Unlisted(Enum):
    """What a router makes of a CoA with attributes that its manual does not list as changeable."""

    IGNORED = "ignored"
    """It acknowledges and changes the rest."""
    REFUSED = "refused"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class DynamicFaults:
    """What routers do wrong with CoA and Disconnect; shares are fractions from 0 to 1."""

    ignored: float = 0.0
    """Neither obeyed nor answered."""
    unanswered: float = 0.0
    """Obeyed, and not answered."""
    refused: float = 0.0
    refused_with: int = 506
    """Error-Cause of these refusals (RFC 5176 §3.5)."""
    pretended: float = 0.0
    """Acknowledged, and nothing happens."""
    delay_seconds: float = 0.0
    """Answers come so much later."""

    def __post_init__(self) -> None:
        for name in ("ignored", "unanswered", "refused", "pretended"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulatorError(f"CoA {name} must be a share between 0 and 100 %")


@dataclass(frozen=True, slots=True)
class Faults:
    """What the network and the routers do wrong; shares are fractions from 0 to 1."""

    loss: float = 0.0
    duplicates: float = 0.0
    reorder: float = 0.0
    lost_stops: float = 0.0
    wrong_passwords: float = 0.0
    reboot_every_seconds: float | None = None
    accounting_on: AccountingOn = AccountingOn.PROFILE
    clock_skew_seconds: float = 0.0
    """Each router's clock is wrong by up to this much, ahead or behind."""
    gigawords: bool = True
    """False: counters wrap at 2³² without a word about it."""
    dynamic: DynamicFaults = field(default_factory=DynamicFaults)
    unlisted: Unlisted = Unlisted.IGNORED
    api: ApiFaults = SOUND
    """What every router's management API does wrong."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicates", "reorder", "lost_stops", "wrong_passwords"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulatorError(f"{name.replace('_', ' ')} must be a share between 0 and 100 %")

    @property
    def network_is_perfect(self) -> bool:
        """Tell whether every datagram arrives once and in order."""
        return not (self.loss or self.duplicates or self.reorder)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How subscribers come, stay, use their line and go."""

    speed: float = 1.0
    ramp_seconds: float = 6.0
    """Real seconds over which the first logins are spread."""
    session_seconds: float | None = None
    """Mean length of a session; None: most lines stay for hours, some come and go."""
    think_seconds: float = 60.0
    """Mean pause between a session and the next login."""
    interim_seconds: float | None = None
    """None: as the Access-Accept says."""
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise SimulatorError("speed must be above 0: it is the simulated seconds in one real second")

    def real_us(self, simulated_seconds: float) -> int:
        """Return the real duration of `simulated_seconds`."""
        return int(simulated_seconds * SECOND_US / self.speed)

    def after(self, now: Microseconds, simulated_seconds: float) -> Microseconds:
        """Return the instant `simulated_seconds` after `now`."""
        return Microseconds(now + self.real_us(simulated_seconds))
