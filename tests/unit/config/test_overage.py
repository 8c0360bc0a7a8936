"""What overage costs, as plans say it: marks of its ceiling, and that nothing is lost on the way."""

from __future__ import annotations

import pytest

from config.isp import Known
from config.plan_rules import StoredRulesError, document, load
from config.provisioning import parse, read
from radius import dictionary

CAP = {"octets": 10**9, "action": "overage"}


def overage(**keys: object) -> dict[str, object]:
    return {"cap": CAP, "overage": {"price": "1", **keys}}


@pytest.mark.parametrize(
    ("written", "percents"),
    [
        (overage(ceiling="20"), (80, 100)),
        (overage(ceiling="20", warn_percents=[50, 25]), (25, 50)),
        (overage(ceiling="20", warn_percents=[]), ()),
    ],
)
def test_the_marks_of_a_ceiling_are_read_and_written(written: dict[str, object], percents: tuple[int, ...]) -> None:
    rules = load(written)
    assert rules.overage is not None
    assert rules.overage.warn_percents == percents
    assert load(document(rules)) == rules


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (overage(warn_percents=[80]), "needs a ceiling"),
        (overage(ceiling="20", model="volume", warn_percents=[80]), "needs a ceiling"),
        (overage(ceiling="20", warn_percents=[101]), "from 1 to 100"),
        (overage(ceiling="20", warn_percents=[80, 80]), "twice"),
        (overage(ceiling="20", warn_percents=80), "must be a list"),
    ],
)
def test_marks_that_cannot_be_are_refused(written: dict[str, object], why: str) -> None:
    with pytest.raises(StoredRulesError, match=why):
        load(written)


CLIFF = 'model = "volume", tier = [{ up_to = %s, price = "1" }, { price = "0.10" }]'


def test_g7_a_tariff_by_which_more_costs_less_is_warned_of() -> None:
    plan = '[[plan]]\nname = "home"\ncap = { octets = "1G", action = "overage" }\noverage = { %s }\n'
    product = '[[product]]\nname = "films"\nprice = "0"\nmetered = { %s }\n'
    told = "makes a little more than {0} cheaper than {0}: the tier that is reached prices everything"
    for text, key, units in ((plan, "plan.overage", '"10G"'), (product, "product.metered", "10")):
        isp = parse(read(text % (CLIFF % units), "isp.toml"), Known(), dictionary.load().encode)
        expected = f"line 4: {key}: {told.format(units.strip(chr(34)))}"
        assert [str(warning) for warning in isp.warnings] == [expected]
        graduated = text % (CLIFF % units).replace("volume", "graduated")
        assert parse(read(graduated, "isp.toml"), Known(), dictionary.load().encode).warnings == ()
