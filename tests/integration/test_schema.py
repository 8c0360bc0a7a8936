"""The tables that the code knows are the tables that the migrations make."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import text

from storage import billing_schema, schema
from storage.database import create_engine
from tests.postgres import PostgresForTests

# What exists and how it is defined, in PostgreSQL's own words. Partitions, triggers, Alembic's table and the parts of
# identities are not for the mirror.
CATALOGUE = """
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.reloptions FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname NOT LIKE 'alembic_version%'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i' AND c.relkind = 'S')
)
SELECT 'relation ' || relname::text, relkind::text || ' ' || coalesce(reloptions::text, '')
       || coalesce(pg_get_partkeydef(oid), '') FROM relation
UNION ALL
SELECT 'column ' || relname::text || '.' || attname,
       concat_ws(' ', format_type(atttypid, atttypmod), collname, attnotnull, attidentity::text,
                 pg_get_expr(adbin, adrelid))
FROM relation JOIN pg_attribute ON attrelid = relation.oid
LEFT JOIN pg_collation ON pg_collation.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || relname::text || '.' || conname, pg_get_constraintdef(pg_constraint.oid)
FROM relation JOIN pg_constraint ON conrelid = relation.oid AND contype <> 't'
UNION ALL
SELECT 'index ' || relname::text, pg_get_indexdef(oid) FROM relation WHERE relkind IN ('i', 'I')
UNION ALL
SELECT 'sequence ' || relname::text, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqcycle)
FROM relation JOIN pg_sequence ON seqrelid = relation.oid
"""


def _catalogue(engine: sqlalchemy.Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(text(CATALOGUE))}


def test_the_mirror_of_the_schema_is_what_the_migrations_make(
    engine: sqlalchemy.Engine, postgres: PostgresForTests
) -> None:
    with postgres.database() as dsn:
        mirrored = create_engine(dsn)
        with mirrored.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
            assert billing_schema.document.metadata is schema.metadata
            schema.metadata.create_all(connection)
        found = _catalogue(mirrored)
        mirrored.dispose()
    assert len(found) > 200
    assert found == _catalogue(engine)
