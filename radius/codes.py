"""Numbers of the protocol that the product reasons about, as the RFCs and vendors name them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Packet codes (RFC 2865 §3, 2866 §3, 5176 §2.1, 5997 §2)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


class Type(IntEnum):
    """Attribute types whose meaning the product knows (RFC 2865, 2866, 2868, 2869, 3162, 4372, 4818, 5176, 6911)."""

    USER_NAME = 1
    USER_PASSWORD = 2
    CHAP_PASSWORD = 3
    NAS_IP_ADDRESS = 4
    NAS_PORT = 5
    SERVICE_TYPE = 6
    FRAMED_PROTOCOL = 7
    FRAMED_IP_ADDRESS = 8
    FILTER_ID = 11
    REPLY_MESSAGE = 18
    STATE = 24
    CLASS = 25
    VENDOR_SPECIFIC = 26
    SESSION_TIMEOUT = 27
    IDLE_TIMEOUT = 28
    TERMINATION_ACTION = 29
    CALLED_STATION_ID = 30
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    PROXY_STATE = 33
    ACCT_STATUS_TYPE = 40
    ACCT_DELAY_TIME = 41
    ACCT_INPUT_OCTETS = 42
    ACCT_OUTPUT_OCTETS = 43
    ACCT_SESSION_ID = 44
    ACCT_AUTHENTIC = 45
    ACCT_SESSION_TIME = 46
    ACCT_INPUT_PACKETS = 47
    ACCT_OUTPUT_PACKETS = 48
    ACCT_TERMINATE_CAUSE = 49
    ACCT_MULTI_SESSION_ID = 50
    ACCT_LINK_COUNT = 51
    ACCT_INPUT_GIGAWORDS = 52
    ACCT_OUTPUT_GIGAWORDS = 53
    EVENT_TIMESTAMP = 55
    CHAP_CHALLENGE = 60
    NAS_PORT_TYPE = 61
    TUNNEL_PASSWORD = 69
    EAP_MESSAGE = 79
    MESSAGE_AUTHENTICATOR = 80
    ACCT_INTERIM_INTERVAL = 85
    NAS_PORT_ID = 87
    FRAMED_POOL = 88
    CHARGEABLE_USER_IDENTITY = 89
    NAS_IPV6_ADDRESS = 95
    FRAMED_INTERFACE_ID = 96
    FRAMED_IPV6_PREFIX = 97
    ERROR_CAUSE = 101
    DELEGATED_IPV6_PREFIX = 123
    FRAMED_IPV6_ADDRESS = 168
    DNS_SERVER_IPV6_ADDRESS = 169
    ROUTE_IPV6_INFORMATION = 170
    DELEGATED_IPV6_PREFIX_POOL = 171
    STATEFUL_IPV6_ADDRESS_POOL = 172


class AcctStatus(IntEnum):
    """Values of Acct-Status-Type (RFC 2866 §5.1)."""

    START = 1
    STOP = 2
    INTERIM = 3
    ACCOUNTING_ON = 7
    ACCOUNTING_OFF = 8


class ServiceType(IntEnum):
    """Values of Service-Type that change how a request is treated (RFC 2865 §5.6, RFC 5176 §3.2)."""

    FRAMED = 2
    AUTHORIZE_ONLY = 17


class ErrorCause(IntEnum):
    """Values of Error-Cause (RFC 5176 §3.5 and the IANA registry): 2xx in an ACK, all others in a NAK."""

    RESIDUAL_SESSION_CONTEXT_REMOVED = 201
    INVALID_EAP_PACKET = 202
    UNSUPPORTED_ATTRIBUTE = 401
    MISSING_ATTRIBUTE = 402
    NAS_IDENTIFICATION_MISMATCH = 403
    INVALID_REQUEST = 404
    UNSUPPORTED_SERVICE = 405
    UNSUPPORTED_EXTENSION = 406
    INVALID_ATTRIBUTE_VALUE = 407
    ADMINISTRATIVELY_PROHIBITED = 501
    REQUEST_NOT_ROUTABLE = 502
    SESSION_CONTEXT_NOT_FOUND = 503
    SESSION_CONTEXT_NOT_REMOVABLE = 504
    OTHER_PROXY_PROCESSING_ERROR = 505
    RESOURCES_UNAVAILABLE = 506
    REQUEST_INITIATED = 507
    MULTIPLE_SESSION_SELECTION_UNSUPPORTED = 508
    LOCATION_INFO_REQUIRED = 509
    RESPONSE_TOO_BIG = 601


class Vendor(IntEnum):
    """Enterprise numbers of the vendors whose attributes the product sends or reads."""

    CISCO = 9
    MICROSOFT = 311
    ASCEND = 529
    HUAWEI = 2011
    REDBACK = 2352
    JUNIPER_ERX = 4874
    WISPR = 14122
    MIKROTIK = 14988


class Microsoft(IntEnum):
    """Microsoft's attributes (RFC 2548)."""

    CHAP_RESPONSE = 1
    CHAP_ERROR = 2
    MPPE_ENCRYPTION_POLICY = 7
    MPPE_ENCRYPTION_TYPES = 8
    CHAP_CHALLENGE = 11
    CHAP_MPPE_KEYS = 12
    MPPE_SEND_KEY = 16
    MPPE_RECV_KEY = 17
    CHAP2_RESPONSE = 25
    CHAP2_SUCCESS = 26


TERMINATE_CAUSES = {
    1: "User-Request",
    2: "Lost-Carrier",
    3: "Lost-Service",
    4: "Idle-Timeout",
    5: "Session-Timeout",
    6: "Admin-Reset",
    7: "Admin-Reboot",
    8: "Port-Error",
    9: "NAS-Error",
    10: "NAS-Request",
    11: "NAS-Reboot",
    12: "Port-Unneeded",
    13: "Port-Preempted",
    14: "Port-Suspended",
    15: "Service-Unavailable",
    16: "Callback",
    17: "User-Error",
    18: "Host-Request",
    19: "Supplicant-Restart",
    20: "Reauthentication-Failure",
    21: "Port-Reinit",
    22: "Port-Disabled",
    23: "Lost-Power",
}
"""Names of Acct-Terminate-Cause (RFC 2866 §5.10 and the IANA registry)."""
