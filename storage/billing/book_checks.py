"""What is the same in the books and beside them: payments, what is owed, credits by hand, what wallets paid by day.

Rule: each query computes one thing in two ways from rows that are written together, and returns what is not the same as
(what, kept, computed, currency); of rows that nobody has changed it returns none.
"""

from __future__ import annotations

_POSTED = """SELECT t.payment_id, sum(p.amount) AS moved,
        coalesce(sum(p.amount) FILTER (WHERE a.kind = 'receivable'), 0) AS of_debts
    FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id JOIN ledger_account AS a ON a.id = p.ledger_account_id
    WHERE t.payment_id IS NOT NULL AND a.kind IN ('receivable', 'wallet') GROUP BY 1"""
_LEFT = f"""SELECT 'payment ' || y.id || ': what is left of it', y.amount - y.refunded,
        -coalesce(m.moved, 0)::bigint, y.currency
    FROM payment AS y LEFT JOIN ({_POSTED}) AS m ON m.payment_id = y.id
    WHERE y.amount - y.refunded <> -coalesce(m.moved, 0) ORDER BY y.id"""
_UNUSED = f"""SELECT 'payment ' || y.id || ': what pays nothing yet', y.unused,
        (-coalesce(m.of_debts, 0) - coalesce(l.paid, 0))::bigint, y.currency
    FROM payment AS y LEFT JOIN ({_POSTED}) AS m ON m.payment_id = y.id
        LEFT JOIN (SELECT payment_id, sum(amount) AS paid FROM allocation GROUP BY 1) AS l ON l.payment_id = y.id
    WHERE y.unused <> -coalesce(m.of_debts, 0) - coalesce(l.paid, 0) ORDER BY y.id"""
_OWED = """SELECT 'what customer ' || customer_id || ' owes', sum(kept)::bigint, sum(computed)::bigint, currency FROM (
        SELECT b.customer_id, a.currency, b.amount AS kept, 0 AS computed
            FROM balance AS b JOIN ledger_account AS a ON a.id = b.ledger_account_id WHERE a.kind = 'receivable'
        UNION ALL
        SELECT customer_id, currency, 0, CASE kind WHEN 'invoice' THEN open_amount ELSE -open_amount END FROM document
            WHERE kind IN ('invoice', 'credit-note') AND open_amount > 0
        UNION ALL
        SELECT customer_id, currency, 0, -unused FROM payment WHERE unused > 0
    ) AS each GROUP BY customer_id, currency HAVING sum(kept) <> sum(computed) ORDER BY customer_id"""
_CREDITED = """SELECT 'line ' || l.id || ': what was credited by hand', l.adjusted, coalesce(k.amount, 0)::bigint, ''
    FROM document_line AS l FULL JOIN (
        SELECT credits_line, sum(amount) AS amount FROM document_line WHERE component = 'credit-' || credits_line
        GROUP BY 1) AS k ON k.credits_line = l.id
    WHERE coalesce(l.adjusted, 0) <> coalesce(k.amount, 0) ORDER BY l.id"""
_BY_DAY = """SELECT 'what wallets paid by day', sum(kept)::bigint, sum(computed)::bigint, currency FROM (
        SELECT coalesce(d.currency, a.currency) AS currency, l.net + l.tax AS kept, 0 AS computed
            FROM document_line AS l LEFT JOIN document AS d ON d.id = l.document_id
                JOIN customer AS c ON c.id = l.customer_id LEFT JOIN account AS a
                ON a.customer_id = coalesce(c.payer_id, c.id)
            WHERE d.posted_daily OR d.id IS NULL
        UNION ALL
        SELECT a.currency, 0, -p.amount FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id
            JOIN ledger_account AS a ON a.id = p.ledger_account_id
            WHERE t.kind = 'daily' AND a.kind IN ('revenue', 'tax')
    ) AS each GROUP BY currency HAVING sum(kept) <> sum(computed) ORDER BY currency"""

QUERIES = (_LEFT, _UNUSED, _OWED, _CREDITED, _BY_DAY)
