"""The sample PMS in this process, with a memory of every version."""
import copy
import os
import random
import sys
import threading
import time
from datetime import datetime, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'pms'))
import fake_pms     # noqa: E402
from verdicts import LATE   # noqa: E402

FAULTS = [{'kind': 'down'}, {'kind': 'reset'}, {'kind': 'hang_after_apply'}, {'kind': 'drop_after_apply'}, {'kind': 'drop_after_apply'},
          {'kind': 'status', 'status': 500}, {'kind': 'status', 'status': 503, 'headers': {'Retry-After': '1'}},
          {'kind': 'status', 'status': 429, 'headers': {'Retry-After': '1'}},
          {'kind': 'slow', 'seconds': .3}, {'kind': 'slow', 'seconds': 2.5}, {'kind': 'garbage'}, {'kind': 'html'},
          {'kind': 'truncate'}, {'kind': 'gzip_bomb', 'megabytes': 40}, {'kind': 'raw', 'body': '{"data": []}'[:-1]}]
TIERS = {'A': {'etags': True, 'idempotency': True}, 'B': {'etags': True, 'idempotency': False},
         'D': {'etags': False, 'idempotency': False}}


class Store(fake_pms.Store):
    """Remembers all versions of all records; times are cut to the second."""

    def __init__(self, options):
        self.versions_of = {}           # id -> [(cause, record)]
        self.read_at = {}               # id -> when the extension read it by itself
        self.patched = 0
        self.refused, self.unread = {}, 0       # R5: id -> key of what was refused as outdated, and not read since
        self.unread_trail = []          # the requests that led to it
        self.seen_at, self.listed_at = {}, 0    # when it was read, by itself or in a list
        self.request = threading.local()        # .late: nobody waits for its answer any more
        super().__init__(options)

    def fill(self, options):
        for i in range(1, options.reservations + 1):
            rid = 'B-%04d' % i
            self.write('bookings', rid, {'id': rid, 'owned': None, 'ours': None, 'latest': None, 'held': None,
                                         'marks': [], 'notes': None, 'price': 0, 'rate': 0, 'nick': None, 'deleted': False}, 'user')

    def write(self, coll, rid, record, cause):
        if cause.startswith('api'):
            self.patched += 1
            if getattr(self.request, 'late', False):
                cause = LATE
        record = super().write(coll, rid, record, cause)
        self.versions_of.setdefault(rid, []).append((cause, copy.deepcopy(record)))
        return record


class Handler(fake_pms.Handler):
    def fault(self, path):
        self.began = time.time()        # before it is made slow
        return super().fault(path)

    def record(self, coll, rid, *part):
        self.rid = rid
        self.store.request.late = time.time() - getattr(self, 'began', time.time()) > 1.9    # timeout: 2 s
        if self.command == 'GET':
            self.store.read_at[rid] = self.store.seen_at[rid] = time.time()
            self.store.refused.pop(rid, None)
        super().record(coll, rid, *part)
        if self.command != 'GET':
            self.store.read_at.pop(rid, None)

    def reply(self, status, *args, **more):
        # noted before the answer can be acted upon; but not of a request that is so slow that we have looked since
        if status == 412 and not self.quiet and max(self.store.listed_at, self.store.seen_at.get(self.rid, 0)) < self.began:
            # the same key: whoever sends it has not got the answer, and asks for it again
            key = self.headers.get('Idempotency-Key')
            if self.rid in self.store.refused and (key is None or key != self.store.refused[self.rid]):
                self.store.unread += 1
                self.store.unread_trail.append(self.trail())
            self.store.refused[self.rid] = key
        super().reply(status, *args, **more)

    def trail(self):
        """The last requests for a record, and for lists."""
        asked = [e for e in self.store.log[-500:] if e['path'].endswith((self.rid, '/bookings'))][-12:]
        return '\n'.join('  %.3f %s %s %s If-Match %s key %s: %s' % (e['time'], e['method'], e['path'], e['query'].get('page', ''),
                                                             e['headers'].get('If-Match'), e['headers'].get('Idempotency-Key'), e.get('status', 'under way or no answer'))
                         for e in asked)

    def collection(self, coll):
        self.store.refused.clear()
        self.store.listed_at = time.time()
        super().collection(coll)


class Server(fake_pms.Server):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class PMS:
    def __init__(self, records, tier, coarse, skew, seed, silent):
        options = type('', (), {'reservations': records, 'seed': seed})
        if coarse:
            fake_pms.iso = lambda t: t.strftime('%Y-%m-%dT%H:%M:%S.000Z')
        self.tier = tier
        # as __init__ sets the clock only after it was asked for it
        fake_pms.DEFAULTS.update(TIERS[tier], skew_seconds=skew, patch_answer=204 if silent else 200)
        self.store = Store(options)
        Handler.store = self.store
        self.server = Server(('127.0.0.1', 0), Handler)
        self.url = 'http://127.0.0.1:%d' % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self):
        """The push of the stream, for what this PMS can do."""
        push = {'read': {'path': '/v1/bookings/{record.id}'},
                'update': {'method': 'PATCH', 'path': '/v1/bookings/{record.id}'}}
        if self.tier in 'AB':
            push['if_match'] = 'etag'
        if self.tier == 'A':
            push['idempotency_header'] = 'Idempotency-Key'
        return push

    def edit(self, rid, change):
        """Somebody at the hotel changes a record: change(record) does it."""
        with self.store.lock:
            record = self.store.records['bookings'].get(rid)
            if record is None or record.get('deleted') or self.in_the_gap(rid):
                return False
            record = copy.deepcopy(record)
            change(record)
            self.store.write('bookings', rid, record, 'user')
            return True

    def in_the_gap(self, rid):
        """Without If-Match there is a moment in which edits are lost: documented, and not tested."""
        return self.tier == 'D' and time.time() - self.store.read_at.get(rid, 0) < 4

    def delete(self, rid):
        with self.store.lock:
            self.store.write('bookings', rid, {'id': rid, 'deleted': True}, 'user')

    def revive(self, rid, record):
        with self.store.lock:
            if self.in_the_gap(rid):
                return
            self.store.write('bookings', rid, dict(record, id=rid, deleted=False), 'user')

    def asked(self):
        """How often all changes were asked for, from the first page on."""
        return sum(e['path'] == '/v1/bookings' and e['query'].get('page') == '1' for e in self.store.log)

    def deleted(self, rid):
        return self.store.records['bookings'][rid].get('deleted')

    def break_it(self, rnd):
        fault = dict(rnd.choice(FAULTS), count=rnd.randrange(1, 4))
        if fault['kind'] in ('garbage', 'html', 'raw') and rnd.random() < .5:
            fault['match'] = {'method': 'GET'}
        if rnd.random() < .3:
            fault['match'] = {'method': rnd.choice(['GET', 'PATCH']), 'path': '^/v1/'}
        self.store.faults = [fault]

    def heal(self):
        self.store.faults = []

    def expire(self):
        self.store.tokens.clear()
