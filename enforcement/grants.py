"""What a NAS is told of an entitlement, at login and while the session is open.

Rule: a plan's own attribute replaces the one that would be made for it, and a vendor's attribute goes only to a NAS
that knows that vendor (RFC 5080 §2.5). Of two entitlements a NAS is told what differs, and only where it can obey.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.attribute_template import render
from enforcement.attributes import (
    ERX_SERVICE_ACTIVATE,
    ERX_SERVICE_DEACTIVATE,
    MIKROTIK_ADDRESS_LIST,
    WISPR_REDIRECTION_URL,
    Kind,
    Part,
    kinds,
    split,
    standard,
    vendor_of,
    vendor_part,
)
from enforcement.entitlement import Entitlement
from enforcement.profiles import Aspect, NasProfile
from radius import dictionary
from radius.codes import Type, Vendor
from radius.packet import attribute, integer_attribute, vendor_attribute

LONGEST_TIMEOUT = 0xFFFFFFFF

PROTOCOLS_OWN = frozenset(
    {
        int(kind)
        for kind in (
            Type.USER_PASSWORD,
            Type.CHAP_PASSWORD,
            Type.STATE,
            Type.CLASS,
            Type.PROXY_STATE,
            Type.EAP_MESSAGE,
            Type.MESSAGE_AUTHENTICATOR,
        )
    }
)
"""What belongs to the protocol or to us, whatever a plan or a service says."""


def grant(entitlement: Entitlement, profile: NasProfile, *, login: str = "", plan: str = "") -> list[Part]:
    """Return what an Access-Accept tells the NAS of a line that is let in.

    `login` and `plan` are for templates. Raise `InvalidValue`, `ValueError` for a template that gave no fitting value.
    """
    made = profile.rates(entitlement) if _has_limits(entitlement) else []
    return _granted(made, entitlement, profile, _names(entitlement, login, plan))


def change(
    entitlement: Entitlement,
    before: Entitlement | None,
    profile: NasProfile,
    *,
    elsewhere: frozenset[Aspect] = frozenset(),
    login: str = "",
    plan: str = "",
) -> bytes | None:
    """Return the attributes of the CoA that brings a line from `before` to `entitlement`; None for a disconnect.

    `before` None is not known: every part of it may differ, and a part that no CoA can change needs a disconnect.
    What `elsewhere` names is left to others (the API). Nothing to tell is no octets: then no CoA is to be sent.
    """
    usual_list = None if before is None or before.walled else before.address_list
    if entitlement.walled and not is_fenced(entitlement, usual_list, profile, login=login, plan=plan):
        return None
    now = _told(entitlement, profile, login, plan)
    then = {} if before is None else _told(before, profile, login, plan)
    if _gone(now, None if before is None else then, profile) - elsewhere:
        return None
    sent: list[bytes] = []
    for kind, octets in now.items():
        if then.get(kind) == octets or profile.aspect_of(kind) in elsewhere:
            continue
        if not profile.can_change(kind):
            return None
        sent += [*_taken_back(kind, then), octets]
    return b"".join(sent)


def is_fenced(
    entitlement: Entitlement, usual_list: str | None, profile: NasProfile, *, login: str = "", plan: str = ""
) -> bool:
    """Tell whether such a NAS is told anything that keeps a walled line in; a low rate does not.

    `usual_list` is the address list that the line has outside. A line that its NAS would not keep in must be refused.
    """
    free = entitlement._replace(address_list=usual_list, pool=None, redirect_url=None)
    return bool(differences(entitlement, free, profile, login=login, plan=plan) - {Aspect.RATES})


def session_timeout(seconds: int | None) -> bytes:
    """Encode Session-Timeout; it is never 0, which some NAS take for no limit (RFC 2865 §5.27)."""
    if seconds is None:
        return b""
    return integer_attribute(Type.SESSION_TIMEOUT, max(1, min(seconds, LONGEST_TIMEOUT)))


def _gone(now: Mapping[Kind, bytes], then: Mapping[Kind, bytes] | None, profile: NasProfile) -> frozenset[Aspect]:
    """Return what the NAS was told, or may have been told, and would have to forget: no CoA says that."""
    if then is None:
        return profile.told() - {profile.aspect_of(kind) for kind in now}
    return frozenset(profile.aspect_of(kind) for kind in then.keys() - now.keys())


def differences(
    entitlement: Entitlement, before: Entitlement | None, profile: NasProfile, *, login: str = "", plan: str = ""
) -> frozenset[Aspect]:
    """Return in what the NAS would have to be told something else; all it is ever told when `before` is not known."""
    if before is None:
        return profile.told()
    now, then = _told(entitlement, profile, login, plan), _told(before, profile, login, plan)
    return frozenset(profile.aspect_of(kind) for kind in now.keys() | then.keys() if now.get(kind) != then.get(kind))


def _told(entitlement: Entitlement, profile: NasProfile, login: str, plan: str) -> dict[Kind, bytes]:
    """Return what the NAS has to be told so that nothing of an earlier entitlement stays."""
    made = profile.rates(entitlement) if profile.says_unlimited or _has_limits(entitlement) else []
    told: dict[Kind, bytes] = {}
    for kind, octets in _granted(made, entitlement, profile, _names(entitlement, login, plan)):
        told[kind] = told.get(kind, b"") + octets
    return told


def _has_limits(entitlement: Entitlement) -> bool:
    return not (
        entitlement.download is None
        and entitlement.upload is None
        and entitlement.priority is None
        and entitlement.guaranteed_download is None
        and entitlement.guaranteed_upload is None
    )


def _granted(
    made: list[Part], entitlement: Entitlement, profile: NasProfile, names: Mapping[str, int | str | None]
) -> list[Part]:
    made = made + _garden(entitlement, profile)
    if not entitlement.attributes:
        return made
    own = _own(entitlement.attributes, profile, names)
    if entitlement.walled:
        # Who may not be used outside the garden gets nothing that would lead out of it.
        ours = {kind for kind, _ in made}
        own = [part for part in own if part[0] not in ours and profile.superseded.get(part[0]) not in ours]
    replaced = {kind for kind, _ in own}
    replaced.update([profile.superseded[kind] for kind in replaced if kind in profile.superseded])
    return [part for part in made if part[0] not in replaced] + own


def _garden(entitlement: Entitlement, profile: NasProfile) -> list[Part]:
    """Return address list, pool and redirection, as far as such a NAS knows them."""
    told = []
    if entitlement.address_list is not None and profile.address_lists:
        told.append(vendor_part(Vendor.MIKROTIK, MIKROTIK_ADDRESS_LIST, entitlement.address_list.encode()))
    if entitlement.pool is not None:
        told.append((standard(Type.FRAMED_POOL), attribute(Type.FRAMED_POOL, entitlement.pool.encode())))
    if entitlement.redirect_url is not None and profile.knows(Vendor.WISPR):
        told.append(vendor_part(Vendor.WISPR, WISPR_REDIRECTION_URL, entitlement.redirect_url.encode()))
    return told


def _own(
    attributes: tuple[tuple[str, str], ...], profile: NasProfile, names: Mapping[str, int | str | None]
) -> list[Part]:
    """Return the plan's own attributes; one whose template names what the line has not is left out."""
    words = dictionary.load()
    found = []
    for name, template in attributes:
        text = render(template, names)
        if text is None:
            continue
        for number, value in split(words.encode(name, text)):
            vendor = vendor_of(number, value)
            if number not in PROTOCOLS_OWN and (vendor is None or profile.knows(vendor)):
                found.append((kinds(number, value)[0], attribute(number, value)))
    return found


def _names(entitlement: Entitlement, login: str, plan: str) -> dict[str, int | str | None]:
    """Return what a template may name."""
    return {
        "download": entitlement.download,
        "upload": entitlement.upload,
        "burst_download": entitlement.burst_download,
        "burst_upload": entitlement.burst_upload,
        "threshold_download": entitlement.burst_threshold_download,
        "threshold_upload": entitlement.burst_threshold_upload,
        "guaranteed_download": entitlement.guaranteed_download,
        "guaranteed_upload": entitlement.guaranteed_upload,
        "burst_seconds": entitlement.burst_seconds,
        "priority": entitlement.priority,
        "address_list": entitlement.address_list,
        "login": login,
        "plan": plan,
    }


def _taken_back(kind: Kind, then: Mapping[Kind, bytes]) -> list[bytes]:
    """Return what ends the part that stood in the place of the new one: a dynamic service does not end by itself."""
    if kind[:2] != (Vendor.JUNIPER_ERX, ERX_SERVICE_ACTIVATE) or kind not in then:
        return []
    (number, value), *_ = split(then[kind])
    service = value[6:].lstrip(bytes(range(0x20)))
    assert number == Type.VENDOR_SPECIFIC
    return [vendor_attribute(Vendor.JUNIPER_ERX, ERX_SERVICE_DEACTIVATE, service)]
