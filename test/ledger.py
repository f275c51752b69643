#!/usr/bin/python3
"""The ledger: unique tokens written on both sides under faults, then an account.

    ledger.py PORT CONNINFO SECONDS SEED

Tokens are elements of a merged set, so that none may be lost; a number is
written at the PMS.  After the faults are healed and all is quiet, both sides
must be the same, every record synced, and every token there.  Prints what is
not, and "edits N lost 0 diverged 0"; exits with 1 if anything is.
"""
import json
import random
import subprocess
import sys
import time
import urllib.request

port, conninfo, seconds, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
RECORDS = 60
FAULTS = [{'kind': 'down'}, {'kind': 'drop_after_apply'}, {'kind': 'status', 'status': 503}, {'kind': 'reset'},
          {'kind': 'slow', 'seconds': 0.3}, {'kind': 'garbage'}, {'kind': 'truncate'},
          {'kind': 'status', 'status': 429, 'headers': {'Retry-After': '1'}}]


def pms(path, body=None, method='POST'):
    request = urllib.request.Request('http://127.0.0.1:%s/_control/%s' % (port, path),
                                     None if body is None else json.dumps(body).encode(), method=method)
    return json.loads(urllib.request.urlopen(request).read() or 'null')


def query(sql):
    return subprocess.run(['psql', '-X', '-At', '-d', conninfo, '-c', sql], capture_output=True, text=True,
                          check=True).stdout.splitlines()


def write(rnd, writer):
    """Writes for a while; returns the tokens of each record."""
    tokens = {}
    end = time.time() + seconds
    n = 0
    while time.time() < end:
        n += 1
        rid = 'RES-%06d' % rnd.randrange(1, RECORDS + 1)
        kind = rnd.random()
        if kind < .4:
            tokens.setdefault(rid, []).append('L%d' % n)
            writer.stdin.write("UPDATE reservations SET special_requests = coalesce(special_requests, '{}')"
                               " || '{L%d}'::text[] WHERE external_id = '%s';\n" % (n, rid))
            writer.stdin.flush()
        elif kind < .8:
            tokens.setdefault(rid, []).append('P%d' % n)
            pms('append/reservations/' + rid, {'specialRequests': ['P%d' % n]})
            pms('edit/reservations/' + rid, {'balance': rnd.randrange(1000) / 100})
        elif kind < .85:
            pms('faults', [dict(rnd.choice(FAULTS), count=rnd.randrange(1, 4))])
        elif kind < .9:
            pms('faults', method='DELETE')
        elif kind < .92:
            pms('expire', {})
        time.sleep(rnd.random() * .03)
    return tokens


def quiet():
    """Waits until nothing is left to be done; at most a minute."""
    for _ in range(60):
        query('SELECT jacksync.sync_now()')
        time.sleep(1)
        if query("SELECT count(*) FROM jacksync.record WHERE sync_status <> 'synced'") == ['0'] and \
                query("SELECT bool_and(failure_count = 0) FROM jacksync.stream_state") == ['t']:
            time.sleep(2)
            return


def main():
    print('seed', seed, flush=True)
    writer = subprocess.Popen(['psql', '-X', '-q', '-At', '-d', conninfo], stdin=subprocess.PIPE, text=True)
    tokens = write(random.Random(seed), writer)
    pms('faults', method='DELETE')
    writer.stdin.close()
    writer.wait()
    quiet()
    lost = diverged = 0
    for line in query("SELECT r.external_id, coalesce(to_jsonb(r.special_requests), '[]'), r.balance, l.sync_status"
                      " FROM reservations r JOIN jacksync.record l USING (external_id)"):
        rid, here, balance, status = line.split('|')
        here = json.loads(here)
        record = pms('record/reservations/' + rid, method='GET')
        if sorted(here) != sorted(record['specialRequests'] or []) or float(balance) != float(record['balance']) or \
                status != 'synced':
            diverged += 1
            print('diverged:', rid, status, here, record['specialRequests'], balance, record['balance'])
        for token in tokens.get(rid, []):
            if token not in here:
                lost += 1
                print('lost:', rid, token)
    print('edits', sum(map(len, tokens.values())), 'lost', lost, 'diverged', diverged)
    return 1 if lost or diverged else 0


if __name__ == '__main__':
    sys.exit(main())
