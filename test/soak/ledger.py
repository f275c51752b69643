#!/usr/bin/python3
"""The ledger: unique tokens written on both sides under faults, then an account.

    ledger.py [--seconds N] [--seed S] [--tier A|B|D] [--place DIR] ...

A cluster with the worker, a PMS that remembers every version, people who
write on both sides in transactions of every kind, and somebody who breaks
things.  Then everything is healed, all must come to rest, and the trails of
both sides are audited (verdicts.py).  Prints what is wrong; the last line is
"edits N wrong 0"; exits with 1 if anything is.
"""
import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time

from actors import Breaker, HotelUser, LocalUser, Operator, Webhook
from cluster import Cluster
from pms import PMS, TIERS
from resources import Sampler
from verdicts import LAWS, Account, rows_of

HERE = os.path.dirname(os.path.abspath(__file__))
QUIET = """SELECT count(*) FROM jacksync.stream_state t
    WHERE t.failure_count = 0 AND t.progress IS NULL AND t.last_sync_at > '%s'
    AND NOT EXISTS (SELECT FROM jacksync.change)
    AND NOT EXISTS (SELECT FROM jacksync.link l WHERE (l.dirty OR l.intent_id IS NOT NULL OR l.must_pull) AND l.state = 'l')
    AND NOT EXISTS (SELECT FROM jacksync.record WHERE sync_status NOT IN ('synced', 'conflict') AND NOT deleted)
    AND NOT EXISTS (SELECT FROM jacksync.intent WHERE state IN ('claimed', 'unknown'))"""
WRITES = """SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
    WHERE relname IN ('bookings', 'link', 'intent', 'audit_log', 'manual_conflict', 'sync_error', 'change')"""


class World:
    def __init__(self, options):
        rnd = random.Random(options.seed)
        self.records = options.records
        self.longest = max(1, options.seconds / 3)
        self.over = threading.Event()
        tier = options.tier or rnd.choice('AAABBD')
        webhooks = rnd.random() < .5 and not options.coarse
        coarse, skew = not webhooks and rnd.random() < .7 or options.coarse, rnd.choice([0, 0, 3600, -3600])
        page = rnd.choice([1, 2, 7, 100])
        options.lookback = options.lookback or rnd.choice(['0 s', '0 s', '2 s', '5 min'])
        silent = options.silent
        print('seed %d: tier %s, page size %d, clock %s%+d s, lookback %s%s' %
              (options.seed, tier, page, 'of seconds, ' if coarse else '', skew, options.lookback, ', writes are not shown' if silent else ''), flush=True)
        self.pms = PMS(options.records, tier, coarse, skew, options.seed, silent)
        self.cluster = Cluster(options.place, os.environ.get('TEMP_CONFIG'))
        self.cluster.query('CREATE EXTENSION jacksync')
        self.cluster.script(os.path.join(HERE, 'soak.sql'), pms=self.pms.url, token_url=self.pms.url + '/oauth/token',
                            push=json.dumps(self.pms.push()), page_size=page, lookback=options.lookback)
        seeds = [rnd.random() for _ in range(20)]
        self.actors = [LocalUser(self, 'L%d' % i, seeds[i], options.pause) for i in range(options.users)]
        self.actors += [HotelUser(self, 'P%d' % i, seeds[8 + i], options.pause) for i in range(2)]
        self.actors += [Operator(self, 'O', seeds[16], 1)]
        if webhooks:
            self.actors += [Webhook(self, seeds[18], .1)]
        if not options.calm:
            self.actors += [Breaker(self, seeds[17], options.seconds / 25, not options.gentle)]

    def rest(self, patience):
        """Heal, and wait until nothing is left to be done; how long it took."""
        self.pms.heal()
        began = time.time()
        since = self.cluster.query('SELECT clock_timestamp()')[0][0]
        while time.time() < began + patience:
            self.cluster.query('SELECT jacksync.sync_now()')
            time.sleep(.3)
            if self.cluster.query(QUIET % since) == [['1']]:
                return time.time() - began
        return None

    def idle(self):
        """Cycles in which nobody writes: what do they write?"""
        self.cluster.query('ALTER SYSTEM SET autovacuum = off')
        self.cluster.query('SELECT pg_reload_conf()')
        end, asked = time.time() + 30, self.pms.asked()
        while self.pms.asked() < asked + 2 and time.time() < end:
            time.sleep(.2)              # sync_now() gets a run, and the next one is idle
        time.sleep(1.2)                 # statistics are late
        before, wrote = self.pms.store.patched, dict(self.cluster.query(WRITES))
        asked = self.pms.asked()
        lsn = self.cluster.query('SELECT pg_current_wal_insert_lsn()')[0][0]
        end = time.time() + 30
        while self.pms.asked() < asked + 3 and time.time() < end:
            time.sleep(.2)
        wal = self.cluster.wal(lsn, self.cluster.query('SELECT pg_current_wal_insert_lsn()')[0][0]) // 3
        time.sleep(1.2)
        after = dict(self.cluster.query(WRITES))
        return (self.pms.store.patched - before, wal,
                {name: int(after[name]) - int(wrote[name]) for name in after if after[name] != wrote[name]})


def query_pushes(world):
    return world.cluster.query('SELECT state, count(*) FROM jacksync.intent GROUP BY 1 ORDER BY 1')


def account(world):
    query = world.cluster.query
    trail = [[row[0], row[1]] + [json.loads(cell) if cell else None for cell in row[2:]]
             for row in query('SELECT who, op, before, after FROM trail ORDER BY n')]
    audit = rows_of(query("SELECT to_jsonb(external_id), to_jsonb(field), coalesce(conflict_details, '{}') FROM jacksync.audit_log"
                          " WHERE external_id IS NOT NULL ORDER BY audit_id"))
    conflicts = rows_of(query("SELECT to_jsonb(external_id), to_jsonb(field), base_value, local_value, pms_value, to_jsonb(status = 'pending')"
                              " FROM jacksync.manual_conflict"))
    rows = {json.loads(row[0])['external_id']: json.loads(row[0]) for row in query('SELECT to_jsonb(b) FROM bookings b')}
    status = dict(query("SELECT external_id, sync_status FROM jacksync.record WHERE external_id IS NOT NULL"))
    in_vain = set() if world.pms.tier == 'A' else {
        token for row in query("SELECT changes FROM jacksync.intent WHERE error = 'not found at the PMS'")
        for value in json.loads(row[0]).values() if isinstance(value, (str, list))
        for token in (value if isinstance(value, list) else [value, *value.split('\n')])}
    # a row deleted here comes back when the PMS sends its record again
    for row in query("SELECT external_id FROM jacksync.link WHERE state = 'd'"):
        status[row[0]] = 'deleted here'
    for row in query("SELECT external_id, direction, state, error FROM jacksync.sync_error WHERE state IN ('retry', 'waiting', 'dead')"):
        print('open error:', *row)
    book = Account(trail, world.pms.store.versions_of, audit, conflicts, in_vain)
    keys = {}
    for versions in world.pms.store.versions_of.values():
        for cause, _ in versions:
            if cause.startswith('api ') and cause != 'api ':
                keys[cause] = keys.get(cause, 0) + 1
    for key, times in keys.items():
        if times > 1:
            book.find('twice', key, times)
    return book, book.run(rows, status), len(trail)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=10)
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--tier', choices=sorted(TIERS))
    parser.add_argument('--records', type=int, default=40)
    parser.add_argument('--users', type=int, default=3)
    parser.add_argument('--pause', type=float, default=.04)
    parser.add_argument('--lookback')
    parser.add_argument('--coarse', action='store_true', help='the PMS has whole seconds only')
    parser.add_argument('--silent', action='store_true', help='a write is answered with 204')
    parser.add_argument('--place')
    parser.add_argument('--calm', action='store_true', help='no faults')
    parser.add_argument('--gentle', action='store_true', help='faults of the network only')
    parser.add_argument('--resources', action='store_true', help='measure the worker; every other seed leaves it alive')
    parser.add_argument('--keep', action='store_true')
    options = parser.parse_args()
    options.place = options.place or tempfile.mkdtemp(prefix='jacksync-soak.')
    options.gentle = options.gentle or options.resources and options.seed % 2 == 1
    world = World(options)
    sampler = Sampler(world.cluster, 2)
    findings = []
    try:
        world.rest(60)
        for actor in world.actors:
            actor.start()
        if options.resources:
            sampler.start()
        time.sleep(options.seconds)
        sampler.over.set()
        world.over.set()
        for actor in world.actors:
            actor.join(120)
        took = world.rest(90)
        if took is None:
            findings.append(('liveness', 'it does not come to rest: %s' % world.cluster.query(
                "SELECT string_agg(external_id || ' ' || sync_status, ', ') FROM jacksync.record WHERE sync_status <> 'synced'")))
        patches, wal, writes = world.idle()
        if wal and not patches and not writes:
            patches, wal, writes = world.idle()     # the heartbeat of five minutes, say
        if patches or writes or wal:
            findings.append(('idle', 'nobody edits, and %d requests, %d bytes of WAL a cycle and these rows were written: %s' % (patches, wal, writes)))
        book, found, trail = account(world)
        findings += found
        harm = {}
        for actor in world.actors:
            for what, n in actor.done.items():
                harm[what] = harm.get(what, 0) + n
        if harm.get('deadlock victim'):
            findings.append(('harm', '%d users were deadlock victims' % harm['deadlock victim']))
        if world.pms.store.unread:
            findings.append(('R5', '%d writes were repeated unread after they were refused as outdated; the requests before the first two:\n%s'
                             % (world.pms.store.unread, '\n--\n'.join(world.pms.store.unread_trail[:2]))))
        if harm.get('truncated'):
            findings.append(('harm', 'a TRUNCATE went through'))
        if harm.get('waited for a lock for long'):
            findings.append(('harm', 'users waited for locks for long'))
        print('; '.join('%s %d' % item for item in sorted(harm.items())))
        pushes = query_pushes(world)
        print('pushes: ' + ', '.join('%s %s' % tuple(row) for row in pushes))
        print('at rest after %.1f s; an idle cycle writes %d bytes of WAL; %d versions here, %d there' %
              (took or -1, wal, trail, sum(map(len, world.pms.store.versions_of.values()))))
        if options.resources:
            print(sampler.report())
        edits = harm.get('transactions', 0) + harm.get('edits', 0)
    finally:
        world.over.set()
        log = open(world.cluster.log, errors='replace').read()
        for word in ('TRAP', 'PANIC', 'terminated by signal 11', 'terminated by signal 6', 'reference leak'):
            if word in log:
                findings.append(('crash', word + ' in the log'))
        try:
            world.cluster.stop('immediate')
        except Exception:
            pass
        if not options.keep:
            shutil.rmtree(options.place, ignore_errors=True)
        else:
            print('kept in', options.place)
    for law, words in findings[:40]:
        print('%s: %s' % (law, words))
    laws = sorted({law for law, _ in findings})
    print('edits %d wrong %d%s' % (edits, len(findings), ': ' + ', '.join(laws) if laws else ''))
    return 1 if findings else 0


if __name__ == '__main__':
    sys.exit(main())
