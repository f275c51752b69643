#!/usr/bin/python3
"""A sample PMS for the demo, the tests and the benchmarks.

A real, stateful HTTP server on loopback: collections of records with pages, an
updated-since filter, tokens, ETags, merge patches, and faults that a test can
switch on.  It prints its port on the first line of its output.

    GET    /v1/COLLECTION?updatedSince=T&page=N&pageSize=M[&ids=A,B]
    GET    /v1/COLLECTION/ID
    PATCH  /v1/COLLECTION/ID        RFC 7396 or RFC 6902, If-Match, Idempotency-Key
    PUT    /v1/COLLECTION/ID        the whole record, or a form of some fields
    PUT    /v1/COLLECTION/ID/PART   one object of it
    POST   /v1/COLLECTION/ID/cancel an action
    POST   /v1/COLLECTION/batch     an array of changes, with a result for each
    POST   /v1/COLLECTION           creates; GET ?reference=R finds it again
    DELETE /v1/COLLECTION/ID
    POST   /oauth/token             client credentials

    POST   /_control/edit/COLLECTION/ID     somebody at the hotel edits
    POST   /_control/append/COLLECTION/ID   and adds elements to arrays
    POST   /_control/put/COLLECTION/ID      a record as it is given
    POST   /_control/delete/COLLECTION/ID
    POST   /_control/vanish/COLLECTION/ID   gone without a trace
    GET    /_control/record/COLLECTION/ID
    POST   /_control/faults                 [{kind, match, count, ...}]
    DELETE /_control/faults                 heal
    POST   /_control/config                 see DEFAULTS
    GET    /_control/log                    requests that came
"""
import argparse
import base64
import gzip
import json
import os
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
import uuid
from datetime import date, datetime, timedelta, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

DEFAULTS = {
    'auth': 'token',            # token, static, none
    'token_lifetime': 3600,
    'static_token': 'sesame',
    'client_id': 'jack',
    'client_secret': 'hotel-secret',
    'etags': True,
    'idempotency': True,
    'patch_answer': 200,        # or 204, or 'other': a body of another shape
    'create_answer': 'record',  # or 'location', 'id', 'none'
    'wrapped': False,           # values are {"Value": x}
    'readonly': [],             # fields that are silently kept
    'refuse': {},               # field: [status, body] of a write that has it
    'lowercase_later': [],      # fields that are changed after the answer
    'skew_seconds': 0,
    'tombstones': True,
    'max_page_size': 1000,
    'uppercase': [],            # fields that the PMS writes in capitals
    'gzip': True,
}

FIRST = ['Ada', 'Björn', 'Chloé', 'Dmitri', 'Élodie', 'Fatima', 'Giovanni', 'Hana', 'Ingrid', 'João', 'Kenji',
         'Łukasz', 'María', 'Nnamdi', 'Olga', 'Priya', 'Quentin', 'Renée', 'Søren', 'Thuý', 'Umut', 'Věra', '伟', '美咲']
LAST = ['Example', 'Müller', "O'Neill", 'García', 'Šimek', 'Nguyễn', 'Kowalska', 'Østergård', 'Rossi', 'Dupont',
        'Yılmaz', 'Ivanova', 'Silva', 'Schmidt', 'Okafor', '田中', '王']
REQUESTS = ['late check-in', 'extra pillows', 'quiet room', 'high floor', 'cot', 'sea view', 'allergy: nuts', 'early breakfast']
TIERS = ['none', 'silver', 'gold', 'platinum']
ROOMS = ['single', 'double', 'twin', 'suite']


def iso(t):
    return t.strftime('%Y-%m-%dT%H:%M:%S.') + '%03dZ' % (t.microsecond // 1000)


class Store:
    """All records, in the order of their last change."""

    def __init__(self, options):
        self.lock = threading.RLock()
        self.config = dict(DEFAULTS)
        self.records = {}       # collection -> id -> record
        self.versions = {}      # (collection, id) -> int
        self.history = []       # (collection, id, version, cause)
        self.sorted = {}        # collection -> list of records, or None
        self.answers = {}       # idempotency key -> answer
        self.tokens = {}
        self.faults = []
        self.log = []
        self.counter = 0
        self.fill(options)

    def now(self):
        return datetime.now(timezone.utc) + timedelta(seconds=self.config['skew_seconds'])

    def fill(self, options):
        rnd = random.Random(options.seed)
        start = self.now() - timedelta(days=options.days_ago)
        for i in range(1, options.guests + 1):
            first, last = rnd.choice(FIRST), rnd.choice(LAST)
            self.records.setdefault('guests', {})['GST-%06d' % i] = {
                'id': 'GST-%06d' % i, 'name': first + ' ' + last,
                'email': 'guest%d@example.com' % i, 'phone': '+49 30 %07d' % rnd.randrange(10**7),
                'loyaltyNumber': 'L%08d' % rnd.randrange(10**8) if rnd.random() < .5 else None,
                'loyaltyTier': rnd.choice(TIERS),
                'preferences': rnd.sample(REQUESTS, rnd.randrange(3)),
                'notes': '\n'.join(rnd.sample(['prefers tea', 'returning guest', 'travels with dog'], rnd.randrange(3))),
                'tags': rnd.sample(['vip', 'press', 'group', 'family'], rnd.randrange(2)),
                'communicationChannel': rnd.choice(['email', 'sms', 'whatsapp']),
                'lastInteraction': iso(start + timedelta(minutes=i % 1440)),
                'createdAt': iso(start - timedelta(days=30)), 'updatedAt': iso(start + timedelta(seconds=i))}
        for i in range(1, options.reservations + 1):
            guest = rnd.randrange(1, max(options.guests, 1) + 1)
            name = self.records.get('guests', {}).get('GST-%06d' % guest, {}).get('name', 'Guest %d' % guest)
            arrival = date(2026, 12, 1) + timedelta(days=rnd.randrange(90))
            self.records.setdefault('reservations', {})['RES-%06d' % i] = {
                'id': 'RES-%06d' % i, 'guestId': 'GST-%06d' % guest, 'guestName': name,
                'checkInDate': arrival.isoformat(),
                'checkOutDate': (arrival + timedelta(days=rnd.randrange(1, 9))).isoformat(),
                'roomNumber': str(100 + i % 400), 'roomType': rnd.choice(ROOMS),
                'rateCode': rnd.choice(['BAR', 'CORP', 'PKG']), 'adults': rnd.randrange(1, 4),
                'children': rnd.randrange(3), 'status': 'confirmed',
                'balance': rnd.randrange(100000) / 100, 'specialRequests': rnd.sample(REQUESTS, rnd.randrange(3)),
                'currency': 'EUR', 'property': {'code': 'MUC', 'name': 'Sample Hotel'},
                'createdAt': iso(start - timedelta(days=30)), 'updatedAt': iso(start + timedelta(seconds=i))}
        for i in range(1, options.rooms + 1):
            self.records.setdefault('rooms', {})['ROOM-%04d' % i] = {
                'id': 'ROOM-%04d' % i, 'number': str(100 + i), 'type': rnd.choice(ROOMS),
                'status': 'available', 'housekeeping': 'clean', 'updatedAt': iso(start + timedelta(seconds=i))}

    def version(self, coll, rid):
        return self.versions.get((coll, rid), 1)

    def write(self, coll, rid, record, cause):
        """Store a record with a new version and time."""
        record['updatedAt'] = iso(self.now())
        for field in self.config['uppercase']:
            if isinstance(record.get(field), str):
                record[field] = record[field].upper()
        self.records.setdefault(coll, {})[rid] = record
        self.versions[(coll, rid)] = self.version(coll, rid) + 1
        self.history.append([coll, rid, self.version(coll, rid), cause])
        self.sorted.pop(coll, None)
        return record

    def page(self, coll, since, first, count):
        if self.sorted.get(coll) is None:
            self.sorted[coll] = sorted(self.records.get(coll, {}).values(), key=lambda r: (r['updatedAt'], r['id']))
        rows = self.sorted[coll]
        if since:
            low, high = 0, len(rows)
            while low < high:
                middle = (low + high) // 2
                if rows[middle]['updatedAt'] < since:
                    low = middle + 1
                else:
                    high = middle
            rows = rows[low:]
        return rows[first:first + count], len(rows)


class Refused(Exception):
    """A write that the PMS does not want: status and body."""


def json_patch(record, patch):
    """RFC 6902, strictly."""
    record = json.loads(json.dumps(record))
    if not isinstance(patch, list):
        raise Refused(400, {'message': 'a patch is an array'})
    for op in patch:
        steps = [p.replace('~1', '/').replace('~0', '~') for p in op['path'].split('/')[1:]]
        target = record
        for step in steps[:-1]:
            target = target[int(step)] if isinstance(target, list) else target.get(step)
            if target is None:
                raise Refused(422, {'messages': ['no such path: ' + op['path']]})
        last = int(steps[-1]) if isinstance(target, list) else steps[-1]
        there = last < len(target) if isinstance(target, list) else last in target
        if op['op'] in ('replace', 'remove') and not there:
            raise Refused(422, {'messages': ['nothing to %s at %s' % (op['op'], op['path'])]})
        if op['op'] == 'remove':
            del target[last]
        elif op['op'] in ('add', 'replace'):
            target[last] = op['value']
        else:
            raise Refused(422, {'messages': ['bad op ' + op['op']]})
    return record


def parse_form(text):
    """a[b][0]=v as PHP reads it."""
    result = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        steps = [s for s in re.split(r'[\[\]]+', name) if s]
        target = result
        for step in steps[:-1]:
            target = target.setdefault(step, {})
        target[steps[-1]] = value
    def lists(value):
        if not isinstance(value, dict):
            return value
        value = {k: lists(v) for k, v in value.items()}
        if value and all(k.isdigit() for k in value):
            return [value[k] for k in sorted(value, key=int)]
        return value
    return lists(result)


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result[key] = None
        else:
            result[key] = merge_patch(result.get(key), value) if isinstance(value, dict) else value
    return result


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    wbufsize = -1
    store = None

    def log_message(self, *args):
        pass

    # -- answers ----------------------------------------------------------
    def answer(self, status, body=None, headers=(), raw=None):
        data = raw if raw is not None else b'' if body is None else json.dumps(body).encode()
        headers = list(headers)
        if self.store.config['gzip'] and 'gzip' in self.headers.get('Accept-Encoding', '') and len(data) > 1400:
            data = gzip.compress(data, 1)
            headers.append(('Content-Encoding', 'gzip'))
        self.status = status
        self.send_response_only(status)
        self.send_header('Date', formatdate(time.time() + self.store.config['skew_seconds'], usegmt=True))
        self.send_header('Content-Type', 'application/json')
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if status != 204:
            self.wfile.write(data)
        self.wfile.flush()

    def cut(self, reset=False):
        """Close the connection without an answer."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # -- requests ---------------------------------------------------------
    def do(self):
        parts = urlsplit(self.path)
        self.query = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        length = int(self.headers.get('Content-Length') or 0)
        self.body = self.rfile.read(length) if length else b''
        self.status = None
        self.hidden = frozenset()
        path = [p for p in parts.path.split('/') if p]
        try:
            if path[:1] == ['_control']:
                self.control(path[1:])
                return
            entry = {'time': time.time(), 'method': self.command, 'path': parts.path, 'query': self.query,
                     'body': self.body.decode('utf-8', 'replace'),
                     'headers': {k: v for k, v in self.headers.items() if k != 'Authorization'}}
            with self.store.lock:
                self.store.log.append(entry)
            if not self.fault(parts.path):
                self.route(path)
            entry['status'] = self.status
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def fault(self, path):
        """Does a fault that is switched on apply?  True: it has answered."""
        with self.store.lock:
            for fault in self.store.faults:
                match = fault.get('match', {})
                if match.get('method', self.command) != self.command or \
                        not re.search(match.get('path', '^/v1/'), path) or \
                        not re.search(match.get('query', ''), self.path.partition('?')[2]) or fault.get('count') == 0:
                    continue
                if fault.get('count'):
                    fault['count'] -= 1
                break
            else:
                return False
        kind = fault['kind']
        if kind == 'hide':
            self.hidden = set(fault['ids'])
            return False
        if kind == 'down':
            self.cut()
        elif kind == 'reset':
            self.cut(reset=True)
        elif kind == 'status':
            self.answer(fault['status'], fault.get('body', {'message': 'fault'}), fault.get('headers', {}).items())
        elif kind == 'slow':
            time.sleep(fault.get('seconds', 1))
            return False
        elif kind == 'hold':
            # until the test lets it go on
            while fault in self.store.faults and time.sleep(.02) is None:
                pass
            return False
        elif kind == 'hang':
            while fault in self.store.faults and time.sleep(.05) is None:
                pass
            self.cut()
        elif kind == 'garbage':
            self.answer(200, raw=b'{"data": [{"id": "RES-0')
        elif kind == 'html':
            self.answer(200, raw=b'<html><body>Please log in</body></html>')
        elif kind == 'raw':
            self.answer(fault.get('status', 200), raw=fault['body'].encode('latin-1'))
        elif kind == 'redirect':
            self.answer(302, {}, [('Location', fault['location'])])
        elif kind == 'big':
            self.answer(200, raw=b'[' + b'1,' * (fault.get('megabytes', 64) * 524288) + b'1]')
        elif kind == 'gzip_bomb':
            data = gzip.compress(b' ' * (fault.get('megabytes', 64) * 1048576))
            self.send_response_only(200)
            self.send_header('Content-Encoding', 'gzip')
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.status = 200
        elif kind == 'truncate':
            self.send_response_only(200)
            self.send_header('Content-Length', '10000')
            self.end_headers()
            self.wfile.write(b'{"data": [')
            self.wfile.flush()
            self.cut()
        elif kind in ('drop_after_apply', 'hang_after_apply'):
            self.quiet = True
            self.route([p for p in path.split('/') if p])
            self.quiet = False
            while kind == 'hang_after_apply' and fault in self.store.faults:
                time.sleep(.05)
            self.cut()
        else:
            self.answer(500, {'message': 'unknown fault ' + kind})
        return True

    quiet = False
    hidden = frozenset()        # a list that lies

    def reply(self, *args, **kwargs):
        if not self.quiet:
            self.answer(*args, **kwargs)

    def route(self, path):
        if path == ['oauth', 'token']:
            self.token()
        elif path[:1] != ['v1'] or len(path) not in (2, 3, 4):
            self.reply(404, {'message': 'no such address'})
        elif not self.authorised():
            self.reply(401, {'message': 'token missing or expired'}, [('WWW-Authenticate', 'Bearer')])
        elif len(path) == 2:
            self.collection(path[1])
        elif len(path) == 3 and path[2] == 'batch':
            self.batch(path[1])
        else:
            self.record(path[1], path[2], path[3] if len(path) == 4 else None)

    def token(self):
        config = self.store.config
        form = parse_qs(self.body.decode())
        given = self.headers.get('Authorization', '')
        if given.startswith('Basic '):
            user, _, secret = base64.b64decode(given[6:]).decode().partition(':')
        else:
            user, secret = form.get('client_id', [''])[0], form.get('client_secret', [''])[0]
        if (user, secret) != (config['client_id'], config['client_secret']):
            self.reply(401, {'error': 'invalid_client'})
            return
        token = uuid.uuid4().hex
        with self.store.lock:
            self.store.tokens[token] = time.time() + config['token_lifetime']
        self.reply(200, {'access_token': token, 'token_type': 'Bearer', 'expires_in': config['token_lifetime']})

    def authorised(self):
        config = self.store.config
        given = self.headers.get('Authorization', '')
        if config['auth'] == 'none':
            return True
        if config['auth'] == 'static':
            return given == 'Bearer ' + config['static_token']
        return self.store.tokens.get(given.partition(' ')[2], 0) > time.time()

    def collection(self, coll):
        store = self.store
        if self.command == 'POST':
            self.create(coll)
            return
        if self.command != 'GET':
            self.reply(405, {'message': 'method not allowed'})
            return
        size = int(self.query.get('pageSize', self.query.get('limit', 100)))
        if size > store.config['max_page_size']:
            self.reply(400, {'message': 'pageSize is at most %d' % store.config['max_page_size']})
            return
        page = int(self.query.get('page', 1))
        first = int(self.query.get('offset', (page - 1) * size))
        since = self.query.get('updatedSince')
        if since:
            try:
                since = iso(datetime.fromisoformat(since.replace('Z', '+00:00')).astimezone(timezone.utc))
            except ValueError:
                self.reply(400, {'message': 'updatedSince is not a time'})
                return
        with store.lock:
            if 'reference' in self.query:
                rows = [row for row in store.records.get(coll, {}).values() if row.get('reference') == self.query['reference']]
                total = len(rows)
            elif 'ids' in self.query:
                rows = [store.records[coll][i] for i in self.query['ids'].split(',') if i in store.records.get(coll, {})]
                total = len(rows)
            else:
                rows, total = store.page(coll, since, first, size)
                rows = [row for row in rows if row['id'] not in self.hidden]
            data = json.dumps({'data': rows, 'page': page, 'pageSize': size, 'total': total,
                               'hasMore': first + size < total}).encode()
        self.reply(200, raw=data)

    def etag(self, coll, rid):
        return [('ETag', '"%d"' % self.store.version(coll, rid))] if self.store.config['etags'] else []

    def create(self, coll):
        store = self.store
        with store.lock:
            key = self.headers.get('Idempotency-Key')
            if store.config['idempotency'] and key in store.answers:
                self.reply(*store.answers[key])
                return
            body = json.loads(self.body)
            refusal = self.refusal(body)
            if refusal:
                self.reply(*refusal)
                return
            store.counter += 1
            rid = '%s-N%05d' % (coll[:3].upper(), store.counter)
            record = dict(body, id=rid)
            store.write(coll, rid, record, 'api ' + (key or ''))
            kind = store.config['create_answer']
            answer = (201, record, self.etag(coll, rid)) if kind == 'record' else \
                (201, None, [('Location', '/v1/%s/%s' % (coll, rid))]) if kind == 'location' else \
                (201, {'created': {'number': rid}}, []) if kind == 'id' else (201, None, [])
            if key:
                store.answers[key] = answer
        self.reply(*answer)

    def refusal(self, body):
        """Does the hotel's own rule forbid this write?"""
        for field, answer in self.store.config['refuse'].items():
            if '"%s"' % field in json.dumps(body):
                return answer
        return None

    def batch(self, coll):
        store = self.store
        results = []
        with store.lock:
            for item in json.loads(self.body):
                rid = str(item.pop('id', None))
                refusal = self.refusal(item)
                if rid not in store.records.get(coll, {}) or refusal:
                    results.append({'id': rid, 'success': False, 'errors': (refusal or [0, 'unknown id'])[1]})
                    continue
                store.write(coll, rid, dict(store.records[coll][rid], **item), 'api ')
                results.append({'id': rid, 'success': True})
        self.reply(200, results)

    def record(self, coll, rid, part=None):
        store = self.store
        with store.lock:
            record = store.records.get(coll, {}).get(rid)
            if record is None:
                self.reply(404, {'message': 'no such record'})
                return
            if self.command == 'GET':
                self.reply(200, record, self.etag(coll, rid))
                return
            key = self.headers.get('Idempotency-Key')
            if store.config['idempotency'] and key and key in store.answers:
                self.reply(*store.answers[key])
                return
            if record.get('deleted'):
                self.reply(410, {'message': 'the record is deleted'})
                return
            match = self.headers.get('If-Match')
            if store.config['etags'] and match and match != '"%d"' % store.version(coll, rid):
                self.reply(412, {'message': 'somebody changed it meanwhile'})
                return
            if self.command == 'DELETE':
                self.remove(coll, rid, 'api ' + (key or ''))
                self.reply(204)
                return
            try:
                answer = self.change(coll, rid, record, part, key)
            except Refused as refused:
                self.reply(*refused.args)
                return
            except ValueError:
                self.reply(400, {'message': 'body cannot be read'})
                return
            if key:
                store.answers[key] = answer
        self.reply(*answer)

    def change(self, coll, rid, record, part, key):
        """Change a record in one of the styles of PMSs; returns the answer."""
        store = self.store
        kind = self.headers.get('Content-Type', '').partition(';')[0]
        form = kind == 'application/x-www-form-urlencoded'
        body = parse_form(self.body.decode()) if form else json.loads(self.body) if self.body else None
        refusal = self.refusal(body)
        if refusal:
            raise Refused(*refusal)
        if store.config['wrapped'] and isinstance(body, dict):
            body = {k: v['Value'] for k, v in body.items() if isinstance(v, dict)}
        if part == 'cancel':
            if not (body or {}).get('reason'):
                raise Refused(422, {'messages': ['a cancellation needs a reason']})
            changed = dict(record, status='canceled', reason=body['reason'],
                           mailed=bool(body.get('sendEmail', True)))
        elif part:
            changed = dict(record, **{part: body})
        elif kind == 'application/json-patch+json':
            changed = json_patch(record, body)
        elif self.command == 'PATCH' or form:
            changed = merge_patch(record, body)
        else:
            if not isinstance(body, dict) or str(body.get('id', rid)) != rid:
                raise Refused(400, {'message': 'the whole record, please'})
            changed = dict(body, id=record['id'])
        for field in store.config['readonly']:
            changed[field] = record.get(field)
        changed = store.write(coll, rid, changed, 'api ' + (key or ''))
        answer = (200, dict(changed), self.etag(coll, rid))
        if form:
            answer = (200, {'success': True, 'data': dict(changed)}, [])
        elif store.config['patch_answer'] == 204:
            answer = (204, None, self.etag(coll, rid))
        elif store.config['patch_answer'] == 'other':
            answer = (200, {'result': 'ok', 'code': 7}, [])
        later = {f: changed[f].lower() for f in store.config['lowercase_later'] if isinstance(changed.get(f), str)}
        if later and any(changed[f] != v for f, v in later.items()):
            store.write(coll, rid, dict(changed, **later), 'later')
        return answer

    def remove(self, coll, rid, cause):
        if self.store.config['tombstones']:
            self.store.write(coll, rid, {'id': rid, 'deleted': True}, cause)
        else:
            self.store.records[coll].pop(rid, None)
            self.store.sorted.pop(coll, None)

    # -- control ----------------------------------------------------------
    def control(self, path):
        store = self.store
        body = json.loads(self.body) if self.body else None
        with store.lock:
            if path[0] == 'edit':
                record = merge_patch(store.records[path[1]][path[2]], body)
                self.answer(200, store.write(path[1], path[2], record, 'user'))
            elif path[0] == 'append':
                record = dict(store.records[path[1]][path[2]])
                for field, values in body.items():
                    record[field] = (record.get(field) or []) + values
                self.answer(200, store.write(path[1], path[2], record, 'user'))
            elif path[0] == 'put':
                store.records.setdefault(path[1], {})[path[2]] = body
                store.sorted.pop(path[1], None)
                self.answer(200, body)
            elif path[0] == 'delete':
                self.remove(path[1], path[2], 'user')
                self.answer(200, {})
            elif path[0] == 'vanish':
                # gone, and nothing tells of it
                store.records[path[1]].pop(path[2], None)
                store.sorted.pop(path[1], None)
                self.answer(200, {})
            elif path[0] == 'record':
                self.answer(200, store.records.get(path[1], {}).get(path[2]))
            elif path[0] == 'faults':
                store.faults = body if self.command == 'POST' else []
                self.answer(200, {})
            elif path[0] == 'config':
                store.config.update(body or {})
                self.answer(200, store.config)
            elif path[0] == 'log':
                self.answer(200, store.log)
            elif path[0] == 'history':
                self.answer(200, store.history)
            elif path[0] == 'expire':
                store.tokens.clear()
                self.answer(200, {})
            else:
                self.answer(404, {})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, default=0)
    parser.add_argument('--reservations', type=int, default=50)
    parser.add_argument('--guests', type=int, default=20)
    parser.add_argument('--rooms', type=int, default=10)
    parser.add_argument('--days-ago', type=int, default=10)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--forever', action='store_true', help='do not end with the parent')
    parser.add_argument('--tls', nargs=2, metavar=('CERT', 'KEY'))
    options = parser.parse_args()
    Handler.store = Store(options)
    server = Server(('127.0.0.1', options.port), Handler)
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)
    if not options.forever:
        threading.Thread(target=watch, daemon=True).start()
    server.serve_forever()


if __name__ == '__main__':
    sys.exit(main())
