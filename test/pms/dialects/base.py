"""What the dialects of real PMSs share: a store, faults, a log and control.

Each dialect is a server of its own, which speaks one vendor's API strictly and
refuses what that vendor refuses.  Faults, the log and the way a test edits
records are those of fake_pms.py:

    POST   /_control/edit/COLLECTION/ID     somebody at the hotel edits (merge patch)
    POST   /_control/quiet/COLLECTION/ID    the same, and the PMS does not note the time
    POST   /_control/put/COLLECTION/ID      a record as it is given
    POST   /_control/delete/COLLECTION/ID   a record vanishes
    GET    /_control/record/COLLECTION/ID, /_control/ids/COLLECTION
    POST   /_control/faults, DELETE /_control/faults, POST /_control/config
    GET    /_control/log, DELETE /_control/log, POST /_control/expire
    GET    /_control/mails                  what the PMS would have sent to guests
"""
import argparse
import base64
import json
import os
import ssl
import sys
import threading
import time
import uuid
from collections import deque
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from fake_pms import FIRST, LAST, Handler, Server, merge_patch    # noqa: E402


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status, body=None, headers=()):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


class Store:
    def __init__(self, options, config):
        self.lock = threading.RLock()
        self.config = {'gzip': True, 'skew_seconds': options.skew, 'token_lifetime': 3600, 'rate': None, **config}
        self.options = options
        self.records = {}       # collection -> id -> record
        self.faults, self.log, self.mails = [], [], []
        self.tokens = {}
        self.times = deque()    # of requests, for the rate limit
        self.counter = 0

    def now(self):
        return datetime.now(timezone.utc) + timedelta(seconds=self.config['skew_seconds'])


class Dialect(Handler):
    """One request; subclasses implement serve() and stamp()."""
    DEFAULTS = {}

    @classmethod
    def fill(cls, store):
        raise NotImplementedError

    @classmethod
    def stamp(cls, store, coll, record):
        """Note that a record was changed now."""

    # -- requests ---------------------------------------------------------
    def route(self, path):
        try:
            with self.store.lock:
                self.rate_limit()
                answer = self.serve(path)
        except Refusal as refusal:
            self.reply(refusal.status, refusal.body, refusal.headers)
            return
        except Exception as error:      # a fault of the fake, not of the client
            self.reply(500, {'message': 'the fake failed: %r' % error})
            return
        self.reply(*answer)

    def rate_limit(self):
        """Sliding window; config rate is [requests, seconds, Retry-After or null]."""
        rate = self.store.config['rate']
        if rate is None:
            return
        now = time.monotonic()
        times = self.store.times
        while times and times[0] <= now - rate[1]:
            times.popleft()
        if len(times) >= rate[0]:
            self.too_many(rate[2])
        times.append(now)

    def too_many(self, retry_after):
        raise Refusal(429, {'message': 'too many requests'},
                      [('Retry-After', str(retry_after))] if retry_after is not None else [])

    def json_body(self, refuse):
        if (self.headers.get('Content-Type') or '').partition(';')[0] != 'application/json':
            refuse('Content-Type must be application/json')
        try:
            return json.loads(self.body)
        except ValueError:
            refuse('body is not JSON')

    def form_body(self):
        """The form as a dict, or None if it is none."""
        if (self.headers.get('Content-Type') or '').partition(';')[0] != 'application/x-www-form-urlencoded':
            return None
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def basic_credentials(self):
        given = self.headers.get('Authorization', '')
        if not given.startswith('Basic '):
            return None
        return tuple(base64.b64decode(given[6:]).decode().split(':', 1))

    def new_token(self):
        token = uuid.uuid4().hex
        self.store.tokens[token] = time.time() + self.store.config['token_lifetime']
        return token

    def bearer_is_good(self):
        given = self.headers.get('Authorization', '')
        return given.startswith('Bearer ') and self.store.tokens.get(given[7:], 0) > time.time()

    # -- control ----------------------------------------------------------
    def control(self, path):
        store = self.store
        body = json.loads(self.body) if self.body else None
        with store.lock:
            if path[0] in ('edit', 'quiet'):
                record = merge_patch(store.records[path[1]][path[2]], body)
                store.records[path[1]][path[2]] = record
                if path[0] == 'edit':
                    self.stamp(store, path[1], record)
                self.answer(200, record)
            elif path[0] == 'put':
                store.records.setdefault(path[1], {})[path[2]] = body
                self.stamp(store, path[1], body)
                self.answer(200, body)
            elif path[0] == 'delete':
                self.vanish(path[1], path[2])
                self.answer(200, {})
            elif path[0] == 'record':
                self.answer(200, store.records.get(path[1], {}).get(path[2]))
            elif path[0] == 'ids':
                self.answer(200, sorted(store.records.get(path[1], {})))
            elif path[0] == 'faults':
                store.faults = body if self.command == 'POST' else []
                self.answer(200, {})
            elif path[0] == 'config':
                store.config.update(body or {})
                self.answer(200, store.config)
            elif path[0] == 'log':
                if self.command == 'DELETE':
                    store.log.clear()
                self.answer(200, store.log)
            elif path[0] == 'mails':
                self.answer(200, store.mails)
            elif path[0] == 'expire':
                store.tokens.clear()
                self.answer(200, {})
            else:
                self.answer(404, {})

    def vanish(self, coll, rid):
        self.store.records[coll].pop(rid, None)


def persons(rnd, count):
    """Names for the records of a sample hotel."""
    return [(rnd.choice(FIRST), rnd.choice(LAST)) for _ in range(count)]


def serve(dialect):
    """The main program of a dialect; prints its port, and that of TLS on a second line."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--reservations', type=int, default=25)
    parser.add_argument('--guests', type=int, default=10)
    parser.add_argument('--rooms', type=int, default=10)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--skew', type=int, default=0, help='seconds by which its clock is ahead')
    parser.add_argument('--forever', action='store_true', help='do not end with the parent')
    parser.add_argument('--tls-cert')
    parser.add_argument('--tls-key')
    options = parser.parse_args()
    store = Store(options, dialect.DEFAULTS)
    dialect.store = store
    dialect.fill(store)
    server = Server(('127.0.0.1', options.port), dialect)
    print(server.server_address[1], flush=True)
    if options.tls_cert:
        # beside the plain port, which a test controls it by
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_cert, options.tls_key)
        tls = Server(('127.0.0.1', 0), dialect)
        tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
        print(tls.server_address[1], flush=True)
        threading.Thread(target=tls.serve_forever, daemon=True).start()
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)
    if not options.forever:
        threading.Thread(target=watch, daemon=True).start()
    server.serve_forever()
