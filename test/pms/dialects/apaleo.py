#!/usr/bin/python3
"""A PMS that speaks Apaleo's dialect: reservations, bookings, units.

OAuth2 client credentials; times of filters without fractions of a second,
times of records with seven digits; pages of at most 200; 204 for an empty
page; JSON Patch for a few paths; actions for everything else.
"""
import json
import random
import re
from datetime import datetime, timedelta, timezone

from base import Dialect, Refusal, persons, serve

STATUSES = ['Confirmed', 'InHouse', 'CheckedOut', 'Canceled', 'NoShow']
FILTER_TIME = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$')
PATCHABLE = {            # path -> operations
    '/comment': {'add', 'replace', 'remove'}, '/guestComment': {'add', 'replace', 'remove'},
    '/paymentAccount': {'add', 'replace', 'remove'}, '/travelPurpose': {'add', 'replace', 'remove'},
    '/additionalGuests': {'add', 'replace', 'remove'}, '/commission': {'add', 'replace', 'remove'},
    '/company': {'add'}, '/primaryGuest': {'replace'}, '/validationMessages': {'remove'}}
PERSON = {'title', 'gender', 'firstName', 'middleInitial', 'lastName', 'email', 'phone', 'address',
          'nationalityCountryCode', 'identificationNumber', 'identificationType', 'company', 'preferredLanguage',
          'birthDate', 'birthPlace', 'vehicleRegistration', 'travelPurpose'}
ZONE = timezone(timedelta(hours=1))


def stamp(moment):
    """Seven digits of a fraction, as .NET writes them."""
    return moment.astimezone(ZONE).strftime('%Y-%m-%dT%H:%M:%S.%f') + '7+01:00'


def moment(text):
    return datetime.fromisoformat(re.sub(r'(\.\d{6})\d', r'\1', text).replace('Z', '+00:00'))


def invalid(*messages):
    raise Refusal(422, {'messages': list(messages)})


class Apaleo(Dialect):
    DEFAULTS = {'client_id': 'ABCD-SP-JACK', 'client_secret': 'hotel-secret', 'max_page_size': 200, 'count': None}

    @classmethod
    def fill(cls, store):
        rnd = random.Random(store.options.seed)
        start = store.now() - timedelta(days=5)
        units = store.records['units'] = {}
        for i in range(1, store.options.rooms + 1):
            rid = 'MUC-U%03d' % i
            units[rid] = {
                'id': rid, 'name': 'A.%d' % (100 + i), 'description': 'Room %d' % (100 + i),
                'property': {'id': 'MUC', 'code': 'MUC', 'name': 'Sample Hotel Munich'},
                'unitGroup': {'id': 'MUC-DBL', 'code': 'DBL', 'name': 'Double', 'type': 'BedRoom'},
                'status': {'isOccupied': i % 3 == 0, 'condition': 'Clean' if i % 2 else 'Dirty'},
                'maxPersons': 2, 'created': '0001-01-01T00:00:00Z'}
        names = persons(rnd, store.options.reservations)
        reservations = store.records['reservations'] = {}
        for i, (first, last) in enumerate(names, 1):
            booking = 'B%07d' % i
            rid = booking + '-1'
            arrival = datetime(2026, 12, 1, 17, tzinfo=ZONE) + timedelta(days=rnd.randrange(60))
            # three in a row share an instant, so that page borders cut through
            changed = stamp(start + timedelta(seconds=i // 3))
            reservations[rid] = {
                'id': rid, 'bookingId': booking, 'status': 'Confirmed',
                'property': {'id': 'MUC', 'code': 'MUC', 'name': 'Sample Hotel Munich'},
                'ratePlan': {'id': 'MUC-FLEX-DBL', 'code': 'FLEX', 'name': 'Flexible', 'isSubjectToCityTax': False},
                'unitGroup': {'id': 'MUC-DBL', 'code': 'DBL', 'name': 'Double', 'type': 'BedRoom'},
                'totalGrossAmount': {'amount': rnd.randrange(8000, 90000) / 100, 'currency': 'EUR'},
                'balance': {'amount': -rnd.randrange(0, 50000) / 100, 'currency': 'EUR'},
                'arrival': arrival.isoformat(), 'departure': (arrival + timedelta(days=2, hours=-6)).isoformat(),
                'created': changed, 'modified': changed, 'adults': 1 + i % 2, 'channelCode': 'Direct',
                'primaryGuest': {'title': 'Ms', 'firstName': first, 'lastName': last,
                                 'email': 'guest%d@example.com' % i, 'phone': '+49 89 %06d' % i,
                                 'address': {'addressLine1': 'Street %d' % i, 'city': 'Munich', 'countryCode': 'DE'}},
                'guaranteeType': 'CreditCard', 'hasCityTax': False}
            if i % 2:
                reservations[rid]['unit'] = {'id': 'MUC-U%03d' % (1 + i % 10), 'name': 'A.%d' % (101 + i % 10)}
            if i % 4 == 0:
                reservations[rid]['childrenAges'] = [6]
            if i % 5 == 0:
                reservations[rid]['additionalGuests'] = [{'firstName': 'Second', 'lastName': last}]
            if i % 6 == 0:
                reservations[rid]['comment'] = 'late arrival'

    @classmethod
    def stamp(cls, store, coll, record):
        if coll == 'reservations':
            record['modified'] = stamp(store.now())

    # -- addresses --------------------------------------------------------
    def serve(self, path):
        if path == ['connect', 'token']:
            return self.token()
        if not self.bearer_is_good():
            raise Refusal(401, None, [('WWW-Authenticate', 'Bearer')])
        if path[:2] == ['booking', 'v1']:
            if path[2:] == ['reservations'] and self.command == 'GET':
                return self.list('reservations', self.filtered())
            if path[2:3] == ['reservations'] and len(path) == 4:
                return self.reservation(path[3])
            if path[2:3] == ['reservation-actions'] and self.command == 'PUT' and len(path) in (5, 6):
                return self.action(*path[3:])
            if path[2:] == ['bookings'] and self.command == 'POST':
                return self.book()
        if path[:3] == ['inventory', 'v1', 'units'] and self.command == 'GET':
            if len(path) == 3:
                return self.list('units', sorted(self.store.records['units'].values(), key=lambda u: u['id']))
            return 200, self.found('units', path[3])
        raise Refusal(404, {'messages': ['No such resource']})

    def token(self):
        form = self.form_body()
        if self.command != 'POST' or form is None:
            raise Refusal(415)
        if form.get('grant_type') != 'client_credentials':
            raise Refusal(400, {'error': 'unsupported_grant_type'})
        given = self.basic_credentials() or (form.get('client_id'), form.get('client_secret'))
        if given != (self.store.config['client_id'], self.store.config['client_secret']):
            raise Refusal(400, {'error': 'invalid_client'})
        return 200, {'access_token': self.new_token(), 'expires_in': self.store.config['token_lifetime'],
                     'token_type': 'Bearer', 'scope': 'reservations.manage reservations.read'}

    def found(self, coll, rid):
        record = self.store.records[coll].get(rid)
        if record is None:
            raise Refusal(404, {'messages': ["'%s' was not found" % rid]})
        return record

    def filtered(self):
        query, problems = self.query, []
        bounds = {}
        for name in ('from', 'to'):
            if name in query:
                if not FILTER_TIME.match(query[name]):
                    problems.append("'%s' must be a date and time without fractional second part" % name)
                else:
                    bounds[name] = moment(query[name])
        if 'dateFilter' in query:
            if query['dateFilter'] not in ('Arrival', 'Departure', 'Stay', 'Creation', 'Modification', 'Cancellation'):
                problems.append("'dateFilter' is invalid")
            elif not bounds and not problems:
                problems.append("'from' or 'to' is needed with 'dateFilter'")
        statuses = query['status'].split(',') if 'status' in query else STATUSES
        if set(statuses) - set(STATUSES):
            problems.append("'status' is invalid")
        if problems:
            invalid(*problems)
        rows = [r for r in self.store.records['reservations'].values() if r['status'] in statuses]
        if query.get('dateFilter') == 'Modification':
            rows = [r for r in rows
                    if ('from' not in bounds or moment(r['modified']) >= bounds['from'])
                    and ('to' not in bounds or moment(r['modified']) < bounds['to'])]
        # an unknown order is silently none
        if query.get('sort') == 'updated:asc':
            return sorted(rows, key=lambda r: (moment(r['modified']), r['id']))
        return sorted(rows, key=lambda r: r['id'])

    def list(self, name, rows):
        try:
            number, size = int(self.query.get('pageNumber', 1)), int(self.query.get('pageSize', 20))
        except ValueError:
            invalid("'pageNumber' and 'pageSize' must be numbers")
        if number < 1:
            invalid("'pageNumber' must be greater than 0")
        if not 1 <= size <= self.store.config['max_page_size']:
            invalid("'pageSize' must be between 1 and %d" % self.store.config['max_page_size'])
        page = rows[(number - 1) * size:number * size]
        if not page:
            return 204, None
        total = self.store.config['count']
        return 200, {name: page, 'count': len(rows) if total is None else total}

    # -- writing ----------------------------------------------------------
    def reservation(self, rid):
        record = self.found('reservations', rid)
        if self.command == 'GET':
            return 200, record
        if self.command != 'PATCH':
            raise Refusal(405)
        if (self.headers.get('Content-Type') or '').partition(';')[0] not in \
                ('application/json', 'application/json-patch+json'):
            raise Refusal(415)
        try:
            operations = json.loads(self.body)
        except ValueError:
            invalid('The body is not JSON')
        if not isinstance(operations, list) or not operations:
            invalid('The body must be a list of operations')
        changed = dict(record)
        for operation in operations:
            path, op = operation.get('path'), operation.get('op')
            if op not in PATCHABLE.get(path, ()):
                invalid("Operation '%s' is not allowed for the path '%s'" % (op, path))
            member = path[1:]
            if op == 'remove':
                if member not in changed:
                    invalid("The path '%s' does not exist" % path)
                del changed[member]
                continue
            value = operation.get('value')
            if op == 'replace' and member not in changed:
                invalid("The path '%s' does not exist" % path)
            if member == 'primaryGuest' and (not isinstance(value, dict) or not value.get('lastName')
                                             or set(value) - PERSON):
                invalid("'primaryGuest.lastName' must not be empty")
            if member in ('comment', 'guestComment') and not isinstance(value, str):
                invalid("'%s' must be a text" % member)
            changed[member] = value
        record.clear()
        record.update(changed)
        self.stamp(self.store, 'reservations', record)
        return 204, None

    def action(self, rid, action, unit=None):
        record = self.found('reservations', rid)
        body = json.loads(self.body) if self.body else {}

        def only_if(*statuses):
            if record['status'] not in statuses:
                invalid("The reservation is %s, it must be %s" % (record['status'], ' or '.join(statuses)))
        if action == 'cancel':
            only_if('Confirmed')
            record['status'] = 'Canceled'
            record['cancellationTime'] = stamp(self.store.now())
        elif action == 'noshow':
            only_if('Confirmed')
            record['status'] = 'NoShow'
        elif action == 'checkin':
            only_if('Confirmed')
            if 'unit' not in record:
                invalid('A unit must be assigned before check-in')
            record['status'] = 'InHouse'
        elif action == 'checkout':
            only_if('InHouse')
            record['status'] = 'CheckedOut'
        elif action == 'assign-unit' and unit is not None:
            only_if('Confirmed', 'InHouse')
            if unit not in self.store.records['units']:
                invalid("The unit '%s' does not exist" % unit)
            record['unit'] = {'id': unit, 'name': self.store.records['units'][unit]['name']}
        elif action == 'amend':
            only_if('Confirmed', 'InHouse')
            missing = [m for m in ('arrival', 'departure', 'adults', 'timeSlices') if not body.get(m)]
            if missing:
                invalid(*["'%s' must not be empty" % m for m in missing])
            for name in ('arrival', 'departure'):
                if not re.match(r'^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d))?$', body[name]):
                    invalid("'%s' is not a date, or a date and time" % name)
            for name in ('arrival', 'departure', 'adults', 'childrenAges'):
                if name in body:
                    record[name] = body[name]
        else:
            raise Refusal(404, {'messages': ['No such action']})
        self.stamp(self.store, 'reservations', record)
        return 204, None

    def book(self):
        store = self.store
        key = self.headers.get('Idempotency-Key')
        answers = store.__dict__.setdefault('answers', {})
        if key and key in answers:
            return answers[key]
        body = self.json_body(lambda message: invalid(message))
        wanted = body.get('reservations') or invalid("'reservations' must not be empty")
        made = []
        store.counter += 1
        booking = 'N%07d' % store.counter
        for i, part in enumerate(wanted, 1):
            missing = [m for m in ('arrival', 'departure', 'adults', 'guaranteeType', 'timeSlices') if not part.get(m)]
            if missing:
                invalid(*["'reservations[%d].%s' must not be empty" % (i - 1, m) for m in missing])
            rid = '%s-%d' % (booking, i)
            record = {'id': rid, 'bookingId': booking, 'status': 'Confirmed',
                      'property': {'id': 'MUC', 'code': 'MUC', 'name': 'Sample Hotel Munich'},
                      'ratePlan': {'id': part['timeSlices'][0]['ratePlanId'], 'code': 'FLEX', 'name': 'Flexible'},
                      'unitGroup': {'id': 'MUC-DBL', 'code': 'DBL', 'name': 'Double'},
                      'totalGrossAmount': {'amount': 100, 'currency': 'EUR'}, 'created': stamp(store.now()),
                      **{m: part[m] for m in ('arrival', 'departure', 'adults', 'primaryGuest', 'comment',
                                              'guestComment', 'guaranteeType') if m in part}}
            self.stamp(store, 'reservations', record)
            store.records['reservations'][rid] = record
            made.append({'id': rid})
        answer = 201, {'id': booking, 'reservationIds': made}
        if key:
            answers[key] = answer
        return answer


if __name__ == '__main__':
    serve(Apaleo)
