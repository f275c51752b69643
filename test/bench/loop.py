#!/usr/bin/python3
"""The contender "application side": a sync service that merges record by record.

    loop.py CONNECTION ROUND PASS

For each record one round trip reads row and base, Python compares, and each
write is a round trip; a page is a transaction.  Its CPU and that of its
backend count.
"""
import json
import resource
import sys
import time
from datetime import date, datetime
from decimal import Decimal

import psycopg2
import psycopg2.extras

FIELDS = [('guest_name', 'guestName', str), ('check_in_date', 'checkInDate', date.fromisoformat),
          ('check_out_date', 'checkOutDate', date.fromisoformat), ('room_number', 'roomNumber', str), ('status', 'status', str),
          ('balance', 'balance', lambda v: Decimal(str(v)).quantize(Decimal('0.01'))), ('adults', 'adults', int), ('notes', 'notes', str),
          ('special_requests', 'specialRequests', list)]
COLUMNS = ', '.join(column for column, _, _ in FIELDS)
PLACES = ', '.join('$%d' % (i + 2) for i in range(len(FIELDS)))
STATEMENTS = {
    'find': 'SELECT s.snap, t.id, %s FROM bench.app_state s JOIN bench.app_rows t USING (external_id) WHERE external_id = $1 FOR NO KEY UPDATE OF t' %
            ', '.join('t.' + column for column, _, _ in FIELDS),
    'new': 'INSERT INTO bench.app_rows (external_id, %s) VALUES ($1, %s)' % (COLUMNS, PLACES),
    'new_state': 'INSERT INTO bench.app_state VALUES ($1, $2, $3, clock_timestamp())',
    'change': 'UPDATE bench.app_rows SET (%s) = (%s) WHERE id = $1' % (COLUMNS, PLACES),
    'change_state': 'UPDATE bench.app_state SET snap = $2, pms_at = $3, last_sync = clock_timestamp() WHERE external_id = $1',
    'audit': 'INSERT INTO bench.app_audit (external_id, field, base, local, pms, resolution) VALUES ($1, $2, $3, $4, $5, $6)'}


def run(cursor, name, *values):
    """One prepared statement, one round trip."""
    cursor.execute('EXECUTE %s (%s)' % (name, ', '.join(['%s'] * len(values))), values)


def typed(record):
    return {column: None if record.get(name) is None else cast(record[name]) for column, name, cast in FIELDS}


def text(value):
    return json.dumps(value, default=lambda v: float(v) if isinstance(v, Decimal) else str(v))


def three_way(base, local, pms):
    return [v for v in pms if v in local or v not in base] + [v for v in local if v not in pms and v not in base]


def apply(cursor, record):
    run(cursor, 'find', record['id'])
    found = cursor.fetchone()
    at = datetime.fromisoformat(record['updatedAt'].replace('Z', '+00:00'))
    pms = typed(record)
    if found is None:
        run(cursor, 'new', record['id'], *pms.values())
        run(cursor, 'new_state', record['id'], text(record), at)
        return
    if found[0] == record:
        return
    base = typed(found[0])
    result = dict(pms)
    for (column, name, _), local in zip(FIELDS, found[2:]):
        if local == base[column] or local == pms[column]:
            continue
        merge = column == 'special_requests'
        if merge:
            result[column] = three_way(base[column], local, pms[column])
        if pms[column] != base[column]:
            run(cursor, 'audit', record['id'], name, text(base[column]), text(local), text(pms[column]), 'merge' if merge else 'pms')
    run(cursor, 'change', found[1], *result.values())
    run(cursor, 'change_state', record['id'], text(record), at)


def cpu(cursor):
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cursor.execute("SELECT bench.cpu(), pg_current_wal_insert_lsn() - '0/0'")
    backend, lsn = cursor.fetchone()
    return backend + (usage.ru_utime + usage.ru_stime) * 1e6, lsn


def main():
    connection, number, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    reader = psycopg2.connect(connection).cursor()
    reader.execute('SELECT page, body FROM bench.pages WHERE round = %s ORDER BY page', (number,))
    pages = reader.fetchall()
    writer = psycopg2.connect(connection)
    psycopg2.extras.register_default_jsonb(writer, loads=lambda s: json.loads(s, parse_float=Decimal))
    cursor = writer.cursor()
    for name, statement in STATEMENTS.items():
        cursor.execute('PREPARE %s AS %s' % (name, statement))
    for page, body in pages:
        cpu0, lsn0 = cpu(cursor)
        wall0 = time.time()
        records = json.loads(body, parse_float=Decimal)
        for record in records:
            apply(cursor, record)
        writer.commit()
        wall = time.time() - wall0
        cpu1, lsn1 = cpu(cursor)
        cursor.execute("INSERT INTO bench.result VALUES ((SELECT name FROM bench.contender WHERE ord = 5), %s, %s, %s, %s, %s, %s, %s)",
                       (what, number, page, len(records), int(cpu1 - cpu0), lsn1 - lsn0, wall))
        writer.commit()


if __name__ == '__main__':
    main()
