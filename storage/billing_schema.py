"""The tables of billing, as SQLAlchemy Core sees them.

Rule: the migrations are the truth; this mirrors them, and a test creates both and compares the catalogues. Triggers,
which keep what was issued and posted as it was, are the migrations' alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTERVAL, JSONB, TIMESTAMP

from storage.schema import metadata

_INSTANT = TIMESTAMP(timezone=True)

document_id = Sequence("document_id", metadata=metadata, increment=100, data_type=BigInteger)
document_line_id = Sequence("document_line_id", metadata=metadata, increment=1000, data_type=BigInteger)
transfer_id = Sequence("transfer_id", metadata=metadata, increment=100, data_type=BigInteger)

closed_books = Table(
    "closed_books",
    metadata,
    Column("only_row", Boolean, CheckConstraint("only_row"), primary_key=True, server_default=true()),
    Column("through", Date),
)

invoice_run = Table(
    "invoice_run",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("on_day", Date, nullable=False, unique=True),
    Column("state", Text, CheckConstraint("state IN ('preview', 'confirmed', 'issued')"), nullable=False),
    Column("automatic_on", Date),
    Column("totals", JSONB, nullable=False, server_default=text("'{}'")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("confirmed_by", Text),
    Column("issued_at", _INSTANT),
)

ledger_account = Table(
    "ledger_account",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column(
        "kind",
        Text,
        CheckConstraint(
            "kind IN ('receivable', 'revenue', 'tax', 'cash', 'deposit', 'wallet', 'rounding', 'write-off', 'exchange')"
        ),
        nullable=False,
    ),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    UniqueConstraint("kind", "name", "currency"),
)

partner = Table(
    "partner",
    metadata,
    Column("id", Integer, Identity(always=False, start=2), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("document", JSONB, nullable=False, server_default=text("'{}'")),
)

tax = Table(
    "tax",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("document", JSONB, nullable=False),
)

test_clock = Table(
    "test_clock",
    metadata,
    Column("only_row", Boolean, CheckConstraint("only_row"), primary_key=True, server_default=true()),
    Column("ahead", INTERVAL, nullable=False),
)

usage_period = Table(
    "usage_period",
    metadata,
    Column("service_id", BigInteger, nullable=False),
    Column("begins", _INSTANT, nullable=False),
    Column("ends", _INSTANT, nullable=False),
    Column("limit_octets", BigInteger, nullable=False),
    Column("used_octets", BigInteger, nullable=False),
    PrimaryKeyConstraint("service_id", "begins"),
)

voucher_batch = Table(
    "voucher_batch",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0")),
    Column("offer", Text),
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("(amount IS NULL) <> (offer IS NULL)"),
)

balance = Table(
    "balance",
    metadata,
    Column("ledger_account_id", Integer, ForeignKey("ledger_account.id"), nullable=False),
    Column("customer_id", BigInteger, nullable=False, server_default=text("0")),
    Column("slot", SmallInteger, nullable=False, server_default=text("0")),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("ledger_account_id", "customer_id", "slot"),
    postgresql_with={"fillfactor": 70},
)
Index("balance_customer", balance.c.customer_id, postgresql_where=text("customer_id <> 0"))

series = Table(
    "series",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("partner_id", Integer, ForeignKey("partner.id"), nullable=False),
    Column("kind", Text, CheckConstraint("kind IN ('invoice', 'proforma', 'credit-note', 'receipt')"), nullable=False),
    Column("pattern", Text, nullable=False),
    Column("reset", Text, CheckConstraint("reset IN ('never', 'year', 'month', 'customer')"), nullable=False),
    UniqueConstraint("partner_id", "kind"),
)

transfer = Table(
    "transfer",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("posted_on", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("partner_id", Integer, ForeignKey("partner.id"), nullable=False),
    Column("customer_id", BigInteger),
    Column("document_id", BigInteger),
    Column("payment_id", BigInteger),
    Column("reverses", BigInteger, ForeignKey("transfer.id")),
    Column("text", Text, nullable=False, server_default=text("''")),
    Column("key", Text, nullable=False, unique=True),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
)
Index(
    "transfer_customer", transfer.c.customer_id, transfer.c.posted_on, postgresql_where=text("customer_id IS NOT NULL")
)
Index("transfer_posted", transfer.c.posted_on, transfer.c.id)

account = Table(
    "account",
    metadata,
    Column("customer_id", BigInteger, ForeignKey("customer.id"), primary_key=True, autoincrement=False),
    Column("currency", Text, nullable=False),
    Column(
        "billing",
        Text,
        CheckConstraint("billing IN ('recurring', 'prepaid-daily', 'prepaid-period', 'postpaid')"),
        nullable=False,
        server_default=text("'recurring'"),
    ),
    Column("terms", JSONB, nullable=False, server_default=text("'{}'")),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('new', 'active', 'blocked', 'inactive')"),
        nullable=False,
        server_default=text("'new'"),
    ),
    Column("next_bill_on", Date),
    Column("next_look_on", Date),
    Column("parked", Text),
    Column("parked_at", _INSTANT),
)
Index("account_due", account.c.next_bill_on, postgresql_where=text("next_bill_on IS NOT NULL"))
Index("account_looked_at", account.c.next_look_on, postgresql_where=text("next_look_on IS NOT NULL"))
Index("account_parked", account.c.customer_id, postgresql_where=text("parked IS NOT NULL"))

document = Table(
    "document",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, CheckConstraint("kind IN ('invoice', 'proforma', 'credit-note', 'receipt')"), nullable=False),
    Column("partner_id", Integer, ForeignKey("partner.id"), nullable=False),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("dated", Date, nullable=False),
    Column("issued_on", Date),
    Column("due_on", Date),
    Column("net", BigInteger, nullable=False),
    Column("tax", BigInteger, nullable=False),
    Column("gross", BigInteger, nullable=False),
    Column("open_amount", BigInteger, CheckConstraint("open_amount >= 0"), nullable=False),
    Column("paid_at_once", BigInteger, nullable=False, server_default=text("0")),
    Column("posted_daily", Boolean, nullable=False, server_default=false()),
    Column("series_id", Integer, ForeignKey("series.id")),
    Column("number", Text),
    Column("position", BigInteger),
    Column("digest", BYTEA, nullable=False),
    Column("hash", BYTEA),
    Column("language", Text, nullable=False),
    Column("frozen", JSONB, nullable=False),
    Column("credits_document", BigInteger, ForeignKey("document.id")),
    Column("payment_id", BigInteger),
    Column("key", Text, unique=True),
    Column("superseded_by", BigInteger, ForeignKey("document.id")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("digest_form", SmallInteger, nullable=False, server_default=text("2")),
    UniqueConstraint("series_id", "number"),
    UniqueConstraint("series_id", "position"),
    CheckConstraint("gross = (net + tax)"),
    CheckConstraint("(number IS NULL) = (hash IS NULL) AND (number IS NULL) = (issued_on IS NULL)"),
)
Index("document_customer", document.c.customer_id, document.c.dated)
Index("document_open", document.c.customer_id, document.c.due_on, postgresql_where=text("open_amount > 0"))
Index(
    "document_proforma",
    document.c.customer_id,
    document.c.due_on,
    postgresql_where=text("(kind = 'proforma'::text) AND (open_amount > 0)"),
)
Index("document_unnumbered", document.c.series_id, document.c.id, postgresql_where=text("number IS NULL"))

payment = Table(
    "payment",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("method", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),
    Column("unused", BigInteger, CheckConstraint("unused >= 0"), nullable=False),
    Column("received_on", Date, nullable=False),
    Column("reference", Text, nullable=False, server_default=text("''")),
    Column("reversed", Boolean, nullable=False, server_default=false()),
    Column("key", Text, nullable=False, unique=True),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("refunded >= 0 AND refunded <= amount"),
    CheckConstraint("(unused + refunded) <= amount"),
)
Index("payment_customer", payment.c.customer_id, payment.c.received_on)
Index("payment_unused", payment.c.customer_id, postgresql_where=text("unused > 0"))

posting = Table(
    "posting",
    metadata,
    Column("transfer_id", BigInteger, ForeignKey("transfer.id"), nullable=False),
    Column("number", SmallInteger, nullable=False),
    Column("ledger_account_id", Integer, ForeignKey("ledger_account.id"), nullable=False),
    Column("customer_id", BigInteger, nullable=False, server_default=text("0")),
    Column("amount", BigInteger, CheckConstraint("amount <> 0"), nullable=False),
    PrimaryKeyConstraint("transfer_id", "number"),
)
Index("posting_customer", posting.c.customer_id, posting.c.ledger_account_id, postgresql_where=text("customer_id <> 0"))

product = Table(
    "product",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column(
        "kind",
        Text,
        CheckConstraint("kind IN ('internet', 'recurring', 'one-time', 'top-up', 'bundle', 'voice')"),
        nullable=False,
    ),
    Column("plan_id", Integer, ForeignKey("plan.id"), unique=True),
    Column("document", JSONB, nullable=False),
)

promise = Table(
    "promise",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("until", Date, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0")),
    Column("made_on", Date, nullable=False),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("withdrawn_at", _INSTANT),
)
Index("promise_customer", promise.c.customer_id, postgresql_where=text("withdrawn_at IS NULL"))

reservation = Table(
    "reservation",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("posted", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('pending', 'posted', 'void', 'expired')"),
        nullable=False,
        server_default=text("'pending'"),
    ),
    Column("expires_at", _INSTANT, nullable=False),
    Column("text", Text, nullable=False, server_default=text("''")),
    Column("key", Text, nullable=False, unique=True),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("posted >= 0 AND posted <= amount"),
)
Index(
    "reservation_pending",
    reservation.c.customer_id,
    reservation.c.expires_at,
    postgresql_where=text("(state = 'pending'::text)"),
)

rest = Table(
    "rest",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("cause", Text, CheckConstraint("cause IN ('vacation', 'no_balance', 'debt', 'given_up')"), nullable=False),
    Column("starts", Date, nullable=False),
    Column("ends", Date),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("ends >= starts"),
)
Index("rest_customer", rest.c.customer_id)

series_counter = Table(
    "series_counter",
    metadata,
    Column("series_id", Integer, ForeignKey("series.id"), nullable=False),
    Column("period", Text, nullable=False),
    Column("last_number", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("series_id", "period"),
)

series_head = Table(
    "series_head",
    metadata,
    Column("series_id", Integer, ForeignKey("series.id"), primary_key=True, autoincrement=False),
    Column("last_hash", BYTEA, nullable=False),
    Column("last_on", Date, nullable=False),
    Column("documents", BigInteger, nullable=False),
)

subscription = Table(
    "subscription",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("service_id", BigInteger),
    Column("code", Text, unique=True),
    Column("bundle_id", BigInteger, ForeignKey("subscription.id")),
    Column("contract", JSONB),
    Column("contract_began", Date),
    Column("billed_to", Date),
    Column("revised_from", Date),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
)
Index("subscription_bundle", subscription.c.bundle_id, postgresql_where=text("bundle_id IS NOT NULL"))
Index("subscription_customer", subscription.c.customer_id)
Index("subscription_service", subscription.c.service_id, postgresql_where=text("service_id IS NOT NULL"))

trust_unlock = Table(
    "trust_unlock",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("from_day", Date, nullable=False),
    Column("until", Date, nullable=False),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
)
Index("trust_unlock_customer", trust_unlock.c.customer_id)

voucher = Table(
    "voucher",
    metadata,
    Column("digest", BYTEA, primary_key=True),
    Column("batch_id", Integer, ForeignKey("voucher_batch.id"), nullable=False),
    Column("customer_id", BigInteger, ForeignKey("customer.id")),
    Column("redeemed_at", _INSTANT),
    Column("voided_at", _INSTANT),
    Column("number", Integer, nullable=False),
    UniqueConstraint("batch_id", "number"),
)

voucher_attempt = Table(
    "voucher_attempt",
    metadata,
    Column("customer_id", BigInteger, ForeignKey("customer.id"), primary_key=True, autoincrement=False),
    Column("failures", Integer, nullable=False),
    Column("last_at", _INSTANT, nullable=False),
)

allocation = Table(
    "allocation",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("payment_id", BigInteger, ForeignKey("payment.id")),
    Column("credit_document_id", BigInteger, ForeignKey("document.id")),
    Column("document_id", BigInteger, ForeignKey("document.id"), nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount <> 0"), nullable=False),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("(payment_id IS NULL) <> (credit_document_id IS NULL)"),
)
Index("allocation_document", allocation.c.document_id)
Index("allocation_payment", allocation.c.payment_id, postgresql_where=text("payment_id IS NOT NULL"))

bank_entry = Table(
    "bank_entry",
    metadata,
    Column("key", BYTEA, primary_key=True),
    Column("file", Text, nullable=False),
    Column("entry", JSONB, nullable=False),
    Column("booked_on", Date, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("customer_id", BigInteger, ForeignKey("customer.id")),
    Column("payment_id", BigInteger, ForeignKey("payment.id")),
    Column("state", Text, CheckConstraint("state IN ('matched', 'booked', 'open', 'ignored')"), nullable=False),
    Column("why", Text, nullable=False, server_default=text("''")),
    Column("imported_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("id", BigInteger, Identity(always=True), nullable=False, unique=True),
)
Index("bank_entry_open", bank_entry.c.booked_on, postgresql_where=text("(state = 'open'::text)"))
Index("bank_entry_matched", bank_entry.c.id, postgresql_where=text("(state = 'matched'::text)"))
Index(
    "bank_entry_end_to_end",
    bank_entry.c.entry.op("->>")("end_to_end"),
    postgresql_where=text("payment_id IS NOT NULL"),
)
Index("bank_entry_payment", bank_entry.c.payment_id, postgresql_where=text("payment_id IS NOT NULL"))

card = Table(
    "card",
    metadata,
    Column("customer_id", BigInteger, ForeignKey("customer.id"), primary_key=True, autoincrement=False),
    Column("payer", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("label", Text, nullable=False, server_default=text("''")),
    Column("stored_at", _INSTANT, nullable=False, server_default=func.now()),
)

card_charge = Table(
    "card_charge",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("payer", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("documents", ARRAY(BigInteger), nullable=False),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('pending', 'succeeded', 'failed')"),
        nullable=False,
        server_default=text("'pending'"),
    ),
    Column("payment_id", BigInteger, ForeignKey("payment.id"), unique=True),
    Column("gateway_id", Text, unique=True),
    Column("why", Text, nullable=False, server_default=text("''")),
    Column("key", Text, nullable=False, unique=True),
    Column("gateway_key", Text, nullable=False, unique=True),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("(state = 'succeeded'::text) = (payment_id IS NOT NULL)"),
)
Index("card_charge_customer", card_charge.c.customer_id)
Index("card_charge_pending", card_charge.c.id, postgresql_where=text("(state = 'pending'::text)"))

card_refund = Table(
    "card_refund",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("charge_id", BigInteger, ForeignKey("card_charge.id"), nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('pending', 'succeeded', 'failed')"),
        nullable=False,
        server_default=text("'pending'"),
    ),
    Column("gateway_id", Text, unique=True),
    Column("why", Text, nullable=False, server_default=text("''")),
    Column("key", Text, nullable=False, unique=True),
    Column("gateway_key", Text, nullable=False, unique=True),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
)
Index("card_refund_charge", card_refund.c.charge_id)

card_event = Table(
    "card_event",
    metadata,
    Column("id", Text, primary_key=True),
    Column("received_at", _INSTANT, nullable=False, server_default=func.now()),
)

collection_step = Table(
    "collection_step",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("document_id", BigInteger, ForeignKey("document.id")),
    Column("kind", Text, nullable=False),
    Column("number", SmallInteger, nullable=False, server_default=text("0")),
    Column("due_on", Date, nullable=False),
    Column("done_at", _INSTANT, nullable=False, server_default=func.now()),
    UniqueConstraint("customer_id", "document_id", "kind", "number", postgresql_nulls_not_distinct=True),
)

discount = Table(
    "discount",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("subscription_id", BigInteger, ForeignKey("subscription.id")),
    Column("kind", Text, CheckConstraint("kind IN ('percent', 'amount', 'coupon')"), nullable=False),
    Column("value", Numeric, CheckConstraint("value > 0::numeric"), nullable=False),
    Column("starts", Date, nullable=False),
    Column("ends", Date),
    Column("text", Text, nullable=False, server_default=text("''")),
    Column("key", Text, unique=True),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("kind <> 'percent'::text OR value <= 100::numeric"),
    CheckConstraint("ends IS NULL OR ends >= starts"),
)
Index("discount_customer", discount.c.customer_id)

metered_event = Table(
    "metered_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subscription_id", BigInteger, ForeignKey("subscription.id"), nullable=False),
    Column("on_day", Date, nullable=False),
    Column("units", Numeric, CheckConstraint("units <> 0::numeric"), nullable=False),
    Column("text", Text, nullable=False, server_default=text("''")),
    Column("key", Text, nullable=False, unique=True),
    Column("made_by", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
)
Index("metered_event_subscription", metered_event.c.subscription_id, metered_event.c.on_day)

one_off = Table(
    "one_off",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("subscription_id", BigInteger, ForeignKey("subscription.id")),
    Column("product_id", Integer, ForeignKey("product.id"), nullable=False),
    Column("on_day", Date, nullable=False),
    Column("unit_price", Numeric, nullable=False),
    Column("quantity", Numeric, CheckConstraint("quantity > 0::numeric"), nullable=False, server_default=text("1")),
    Column("text", Text),
    Column("key", Text, unique=True),
    Column("billed", Boolean, nullable=False, server_default=false()),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("withdrawn_at", _INSTANT),
)
Index("one_off_open", one_off.c.customer_id, postgresql_where=text("NOT billed"))

price = Table(
    "price",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("product_id", Integer, ForeignKey("product.id"), nullable=False),
    Column("partner_id", Integer, ForeignKey("partner.id")),
    Column("starts", Date, nullable=False),
    Column("amount", Numeric, CheckConstraint("amount >= 0::numeric"), nullable=False),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    UniqueConstraint("product_id", "partner_id", "starts", postgresql_nulls_not_distinct=True),
)

subscription_event = Table(
    "subscription_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subscription_id", BigInteger, ForeignKey("subscription.id"), nullable=False),
    Column("on_day", Date, nullable=False),
    Column("kind", Text, CheckConstraint("kind IN ('start', 'change', 'pause', 'resume', 'stop')"), nullable=False),
    Column("product_id", Integer, ForeignKey("product.id")),
    Column("unit_price", Numeric, CheckConstraint("unit_price >= 0::numeric")),
    Column("quantity", Numeric, CheckConstraint("quantity > 0::numeric")),
    Column("anchor", Date),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("made_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("cancelled_at", _INSTANT),
    Column("key", Text, unique=True),
    Column("waits", Boolean, nullable=False, server_default=false()),
)
Index("subscription_event_product", subscription_event.c.product_id, postgresql_where=text("cancelled_at IS NULL"))
Index(
    "subscription_event_subscription",
    subscription_event.c.subscription_id,
    postgresql_where=text("cancelled_at IS NULL"),
)
Index(
    "subscription_event_waiting",
    subscription_event.c.on_day,
    postgresql_where=text("waits AND cancelled_at IS NULL"),
)

document_line = Table(
    "document_line",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("document_id", BigInteger, ForeignKey("document.id")),
    Column("position", Integer, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("subscription_id", BigInteger),
    Column("component", Text, nullable=False),
    Column("rate", Text, nullable=False),
    Column("period_starts", Date, nullable=False),
    Column("period_ends", Date, nullable=False),
    Column("starts", Date, nullable=False),
    Column("ends", Date, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("tax", BigInteger, nullable=False),
    Column("taxes", JSONB, nullable=False),
    Column("includes_tax", Boolean, nullable=False),
    Column("product_id", Integer, ForeignKey("product.id"), nullable=False),
    Column("unit_price", Numeric, nullable=False),
    Column("quantity", Numeric, nullable=False),
    Column("text", Text, nullable=False),
    Column("credits_line", BigInteger, ForeignKey("document_line.id")),
    Column("adjusted", BigInteger, nullable=False, server_default=text("0")),
    Column("one_off_id", BigInteger, ForeignKey("one_off.id"), unique=True),
    Column("discount_id", BigInteger),
    Column("usage", JSONB),
)
Index("document_line_credited", document_line.c.credits_line, postgresql_where=text("credits_line IS NOT NULL"))
Index("document_line_discount", document_line.c.discount_id, postgresql_where=text("discount_id IS NOT NULL"))
Index("document_line_document", document_line.c.document_id, document_line.c.position)
Index(
    "document_line_once",
    document_line.c.subscription_id,
    document_line.c.component,
    document_line.c.rate,
    document_line.c.starts,
    document_line.c.ends,
    document_line.c.revision,
    unique=True,
    postgresql_where=text("subscription_id IS NOT NULL"),
)
Index(
    "document_line_recent",
    document_line.c.subscription_id,
    document_line.c.period_ends,
    postgresql_where=text("subscription_id IS NOT NULL"),
)
Index("document_line_waiting", document_line.c.customer_id, postgresql_where=text("document_id IS NULL"))

proforma_line = Table(
    "proforma_line",
    metadata,
    Column("line_id", BigInteger, ForeignKey("document_line.id"), primary_key=True, autoincrement=False),
    Column("subscription_id", BigInteger, ForeignKey("subscription.id"), nullable=False),
)
