"""The parameters for rates, octets and hours.

Rule: a rate is written as in the provisioning files: `5M`, `512k`, bit/s, `300G`, octets.
"""

from __future__ import annotations

import click

from config.checks import octets, rate
from config.problems import Mistake


class RateType(click.ParamType[int]):
    """Reads a rate into bit/s."""

    name = "rate"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return rate(value)
        except Mistake as mistake:
            self.fail(str(mistake), param, ctx)


class OctetsType(click.ParamType[int]):
    """Reads an amount of traffic into octets."""

    name = "octets"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return octets()(value)
        except Mistake as mistake:
            self.fail(str(mistake), param, ctx)


RATE = RateType()
OCTETS = OctetsType()
HOURS = click.FloatRange(min=0, min_open=True, max=24 * 366)
"""At most a year; what holds longer is no override but another plan."""
