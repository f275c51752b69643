#!/usr/bin/python3
"""A PMS that speaks the dialect of the Mews Connector API.

Every operation is a POST with the tokens in its body; windows need both
bounds, are at most three months long, and one whose bounds are equal means
equality; lists go from the newest record to the oldest, with a cursor in the
body; updates are arrays of wrapped values, or plain ones that cannot be
cleared; states change by actions; a write answers with another shape.
"""
import random
import re
import uuid
from datetime import datetime, timedelta, timezone

from base import Dialect, Refusal, persons, serve

UTC_TIME = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')
STATES = {'Inquired', 'Confirmed', 'Started', 'Processed', 'Canceled', 'Optional', 'Requested'}
RESERVATION_UPDATE = {'ReservationId', 'ChannelNumber', 'StartUtc', 'EndUtc', 'ReleasedUtc', 'PersonCounts',
                      'AssignedResourceId', 'RequestedCategoryId', 'TravelAgencyId', 'CompanyId', 'BusinessSegmentId',
                      'Purpose', 'RateId', 'CreditCardId', 'TimeUnitPrices', 'BookerId', 'AssignedResourceLocked',
                      'AvailabilityBlockId', 'Options'}
CUSTOMER_UPDATE = {'CustomerId', 'ChainId', 'Title', 'FirstName', 'LastName', 'SecondLastName', 'NationalityCode',
                   'PreferredLanguageCode', 'Sex', 'BirthDate', 'BirthPlace', 'Occupation', 'Email', 'Phone',
                   'LoyaltyCode', 'Notes', 'CarRegistrationNumber', 'DietaryRequirements', 'TaxIdentificationNumber',
                   'CompanyId', 'Address', 'Classifications', 'Options'}
RESOURCE_UPDATE = {'ResourceId', 'Name', 'ParentResourceId', 'Data', 'State', 'StateReason'}
RESOURCE_STATES = {'Dirty', 'Clean', 'Inspected', 'OutOfService', 'OutOfOrder'}
TOKENS = {'ClientToken', 'AccessToken', 'Client', 'LanguageCode', 'CultureCode', 'EnterpriseId', 'EnterpriseIds',
          'ChainIds'}
ADULT, CHILD = '1f67644f-0000-4863-acdf-ae1600c60ca0', 'ab58c939-0000-4a60-8f75-ae1600c60c9f'


def iso(moment):
    return moment.astimezone(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def identifier(kind, number):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, '%s-%d.example.com' % (kind, number)))


def refuse(message, status=400):
    raise Refusal(status, {'Message': message, 'RequestId': str(uuid.uuid4())})


class Mews(Dialect):
    DEFAULTS = {'client_token': 'CLIENT-TOKEN', 'access_token': 'ACCESS-TOKEN', 'max_count': 1000,
                'rate': [200, 30, 5],
                'meanwhile': None}      # [id, changes]: of a reservation, once, when a first page was given

    @classmethod
    def fill(cls, store):
        rnd = random.Random(store.options.seed)
        start = store.now() - timedelta(days=5)
        rooms = store.records['resources'] = {}
        for i in range(1, store.options.rooms + 1):
            rid = identifier('resource', i)
            rooms[rid] = {
                'Id': rid, 'EnterpriseId': identifier('enterprise', 1), 'IsActive': True, 'ParentResourceId': None,
                'Name': str(100 + i), 'State': 'Clean' if i % 2 else 'Dirty', 'Descriptions': {'en-US': 'Room'},
                'CreatedUtc': iso(start), 'UpdatedUtc': iso(start + timedelta(seconds=i)),
                'Data': {'Discriminator': 'Space', 'Value': {'FloorNumber': '1', 'LocationNotes': ''}}}
            if i % 5 == 0:      # a bed is no room
                rooms[rid]['Data'] = {'Discriminator': 'Object', 'Value': {}}
        spaces = [r['Id'] for r in rooms.values() if r['Data']['Discriminator'] == 'Space']
        customers, reservations = store.records['customers'], store.records['reservations'] = {}, {}
        for i, (first, last) in enumerate(persons(rnd, store.options.guests), 1):
            cid = identifier('customer', i)
            customers[cid] = {
                'Id': cid, 'Number': str(i), 'Title': 'Mister', 'FirstName': first, 'LastName': last,
                'SecondLastName': None, 'NationalityCode': 'CZ', 'BirthDate': None,
                'Email': 'guest%d@example.com' % i, 'Phone': '+420 %09d' % i, 'LoyaltyCode': None, 'Notes': '',
                'CreatedUtc': iso(start), 'UpdatedUtc': iso(start + timedelta(seconds=i // 3)), 'AddressId': None,
                'Classifications': ['Returning'] if i % 2 else [], 'Options': [], 'ActivityState': 'Active',
                'IsActive': True, 'MergeTargetId': None}
        for i in range(1, store.options.reservations + 1):
            rid = identifier('reservation', i)
            arrival = datetime(2026, 12, 1, 14, tzinfo=timezone.utc) + timedelta(days=rnd.randrange(60))
            reservations[rid] = {
                'Id': rid, 'ServiceId': identifier('service', 1),
                'AccountId': identifier('customer', 1 + i % store.options.guests), 'AccountType': 'Customer',
                'Number': str(50 + i), 'State': 'Canceled' if i % 9 == 0 else 'Confirmed', 'Origin': 'Connector',
                'CreatedUtc': iso(start), 'UpdatedUtc': iso(start + timedelta(seconds=i // 3)), 'CancelledUtc': None,
                'RateId': identifier('rate', 1), 'GroupId': identifier('group', i),
                'RequestedResourceCategoryId': identifier('category', 1),
                'AssignedResourceId': spaces[i % len(spaces)] if i % 3 else None, 'AssignedResourceLocked': False,
                'ChannelNumber': '', 'CancellationReason': None,
                'ScheduledStartUtc': iso(arrival), 'ScheduledEndUtc': iso(arrival + timedelta(days=2, hours=-4)),
                'ActualStartUtc': None, 'ActualEndUtc': None, 'Purpose': 'Leisure',
                'PersonCounts': [{'AgeCategoryId': ADULT, 'Count': 1 + i % 2}]}

    @classmethod
    def stamp(cls, store, coll, record):
        # a second ago: windows end before the present second, which tests do not wait for
        record['UpdatedUtc'] = iso(store.now() - timedelta(seconds=1))

    def too_many(self, retry_after):
        raise Refusal(429, {'Message': 'Too many requests', 'RequestId': str(uuid.uuid4())},
                      [('Retry-After', str(retry_after))] if retry_after is not None else [])

    # -- addresses --------------------------------------------------------
    def serve(self, path):
        operation = '/'.join(path[3:])
        known = {'reservations/getAll/2023-06-06': self.get_reservations, 'customers/getAll': self.get_customers,
                 'resources/getAll': self.get_resources, 'reservations/update': self.update_reservations,
                 'reservations/confirm': self.confirm, 'reservations/start': self.start,
                 'reservations/process': self.process, 'reservations/cancel': self.cancel,
                 'customers/update': self.update_customer, 'resources/update': self.update_resources}
        # exact case, no slash at the end, POST only: else there is nothing
        if path[:3] != ['api', 'connector', 'v1'] or operation not in known or self.command != 'POST' \
                or self.path.partition('?')[0].endswith('/'):
            refuse('No such operation', 404)
        body = self.json_body(refuse)
        config = self.store.config
        if not body.get('Client'):
            refuse('Invalid Client')
        if (body.get('ClientToken'), body.get('AccessToken')) != (config['client_token'], config['access_token']):
            refuse('Invalid AccessToken', 401)
        return 200, known[operation]({k: v for k, v in body.items() if k not in TOKENS})

    def only(self, body, allowed):
        unknown = sorted(set(body) - set(allowed))
        if unknown:
            refuse('Invalid %s' % unknown[0])

    # -- reading ----------------------------------------------------------
    def window(self, body, name):
        """The bounds of an interval filter, or None."""
        interval = body.get(name)
        if interval is None:
            return None
        bounds = []
        for bound in ('StartUtc', 'EndUtc'):
            if not isinstance(interval, dict) or not UTC_TIME.match(str(interval.get(bound))):
                refuse('Invalid %s.%s' % (name, bound))
            bounds.append(datetime.fromisoformat(interval[bound].replace('Z', '+00:00')))
        low, high = bounds
        if high < low or high > low + timedelta(days=92):
            refuse('Invalid %s: the interval must not be longer than 3 months' % name)
        return low, high

    def page(self, body, coll, keep):
        limit = body.get('Limitation')
        if not isinstance(limit, dict) or type(limit.get('Count')) is not int or \
                not 1 <= limit['Count'] <= self.store.config['max_count']:
            refuse('Invalid Limitation.Count')
        self.only(limit, ('Count', 'Cursor'))
        window = self.window(body, 'UpdatedUtc')

        def inside(record):
            if window is None:
                return True
            changed = datetime.fromisoformat(record['UpdatedUtc'].replace('Z', '+00:00'))
            return changed == window[0] if window[0] == window[1] else window[0] <= changed < window[1]
        rows = sorted((r for r in self.store.records[coll].values() if keep(r) and inside(r)),
                      key=lambda r: (r['UpdatedUtc'], r['Id']), reverse=True)
        cursor = limit.get('Cursor')
        if 'Cursor' in limit and cursor is not None:
            places = self.store.__dict__.setdefault('cursors', {})
            place = places.get((coll, cursor))
            if place is None:
                refuse('Invalid Limitation.Cursor')
            rows = [r for r in rows if (r['UpdatedUtc'], r['Id']) < place]
        rows = rows[:limit['Count']]
        if rows:
            last = rows[-1]
            self.store.__dict__.setdefault('cursors', {})[(coll, last['Id'])] = (last['UpdatedUtc'], last['Id'])
        return rows, rows[-1]['Id'] if rows else None

    def identifiers(self, body, name):
        ids = body.get(name)
        if ids is not None and (not isinstance(ids, list) or not 1 <= len(ids) <= 1000):
            refuse('Invalid %s' % name)
        return ids

    def get_reservations(self, body):
        self.only(body, ('UpdatedUtc', 'CreatedUtc', 'CollidingUtc', 'ReservationIds', 'States', 'ServiceIds',
                         'AccountIds', 'Limitation'))
        ids, states = self.identifiers(body, 'ReservationIds'), body.get('States')
        if states is not None and set(states) - STATES:
            refuse('Invalid States')
        rows, cursor = self.page(body, 'reservations', lambda r: (ids is None or r['Id'] in ids)
                                 and (states is None or r['State'] in states))
        answer = {'Reservations': [dict(r) for r in rows], 'Cursor': cursor}
        if self.store.config['meanwhile'] and ids is None and 'Cursor' not in body['Limitation'] and rows:
            rid, changes = self.store.config['meanwhile']
            self.store.config['meanwhile'] = None
            record = self.store.records['reservations'][rid]
            record.update(changes)
            self.stamp(self.store, 'reservations', record)
        return answer

    def get_customers(self, body):
        self.only(body, ('UpdatedUtc', 'CreatedUtc', 'DeletedUtc', 'CustomerIds', 'Emails', 'FirstNames', 'LastNames',
                         'LoyaltyCodes', 'CompanyIds', 'ActivityStates', 'Extent', 'Limitation'))
        if not isinstance(body.get('Extent'), dict) or body['Extent'].get('Customers') is not True:
            refuse('Invalid Extent')
        if not set(body) & {'UpdatedUtc', 'CreatedUtc', 'DeletedUtc', 'CustomerIds', 'Emails', 'FirstNames',
                            'LastNames', 'LoyaltyCodes', 'CompanyIds'}:
            refuse('At least one filter must be specified')
        ids, states = self.identifiers(body, 'CustomerIds'), body.get('ActivityStates') or ['Active']
        rows, cursor = self.page(body, 'customers', lambda r: (ids is None or r['Id'] in ids)
                                 and r['ActivityState'] in states)
        return {'Customers': rows, 'Documents': None, 'Cursor': cursor}

    def get_resources(self, body):
        self.only(body, ('UpdatedUtc', 'CreatedUtc', 'ResourceIds', 'Names', 'Extent', 'Limitation'))
        if not isinstance(body.get('Extent'), dict) or body['Extent'].get('Resources') is not True:
            refuse('Invalid Extent')
        ids, inactive = self.identifiers(body, 'ResourceIds'), body['Extent'].get('Inactive', False)
        rows, cursor = self.page(body, 'resources', lambda r: (ids is None or r['Id'] in ids)
                                 and (r['IsActive'] or inactive))
        return {'Resources': rows, 'ResourceCategories': None, 'ResourceFeatures': None, 'Cursor': cursor}

    # -- writing ----------------------------------------------------------
    def found(self, coll, rid, name):
        record = self.store.records[coll].get(rid)
        if record is None:
            refuse('Invalid %s' % name)
        return record

    def updates(self, body, coll, name, key, allowed):
        """Pairs of a record and the plain values of its wrapped update."""
        updates = body.get(name)
        if not isinstance(updates, list) or not 1 <= len(updates) <= 1000:
            refuse('Invalid %s' % name)
        result = []
        for update in updates:
            self.only(update, allowed)
            record = self.found(coll, update.get(key), key)
            values = {}
            for member, value in update.items():
                if member in (key, 'Options', 'Data'):
                    continue
                if not isinstance(value, dict) or set(value) - {'Value'}:
                    refuse('Invalid %s' % member)
                if 'Value' in value:        # {} leaves the value alone
                    values[member] = value['Value']
            result.append((record, values))
        return result

    def update_reservations(self, body):
        self.only(body, ('ReservationUpdates', 'Reprice', 'ApplyCancellationFee', 'Reason'))
        pairs = self.updates(body, 'reservations', 'ReservationUpdates', 'ReservationId', RESERVATION_UPDATE)
        if body.get('Reprice', True) and not body.get('Reason'):
            refuse('Invalid Reason')
        for record, values in pairs:
            if record['State'] in ('Canceled', 'Processed'):
                refuse('Reservation %s is %s and cannot be updated.' % (record['Number'], record['State']), 403)
            room = values.get('AssignedResourceId')
            if room is not None and room not in self.store.records['resources']:
                refuse('Invalid AssignedResourceId')
            for name in ('StartUtc', 'EndUtc'):
                if name in values and not UTC_TIME.match(str(values[name])):
                    refuse('Invalid %s' % name)
            start = values.get('StartUtc', record['ScheduledStartUtc'])
            if values.get('EndUtc', record['ScheduledEndUtc']) <= start:
                refuse('Invalid EndUtc')
        for record, values in pairs:
            for name, value in values.items():
                record[{'StartUtc': 'ScheduledStartUtc', 'EndUtc': 'ScheduledEndUtc',
                        'RequestedCategoryId': 'RequestedResourceCategoryId'}.get(name, name)] = value
            self.stamp(self.store, 'reservations', record)
        # the shape of 2017, which reading does not have any more
        return {'Reservations': [{
            'Id': r['Id'], 'ServiceId': r['ServiceId'], 'CustomerId': r['AccountId'], 'Number': r['Number'],
            'State': r['State'], 'CreatedUtc': r['CreatedUtc'], 'UpdatedUtc': r['UpdatedUtc'],
            'StartUtc': r['ScheduledStartUtc'], 'EndUtc': r['ScheduledEndUtc'],
            'AssignedSpaceId': r['AssignedResourceId'], 'AdultCount': r['PersonCounts'][0]['Count'],
            'ChildCount': 0} for r, _ in pairs], 'Customers': None}

    def many(self, body, before, after):
        ids = self.identifiers(body, 'ReservationIds') or refuse('Invalid ReservationIds')
        records = [self.found('reservations', rid, 'ReservationId') for rid in ids]
        for record in records:
            if record['State'] not in before:
                refuse('Reservation %s is %s.' % (record['Number'], record['State']), 403)
        for record in records:
            record['State'] = after
            self.stamp(self.store, 'reservations', record)
        return records

    def confirm(self, body):
        self.only(body, ('ReservationIds', 'SendConfirmationEmail'))
        records = self.many(body, ('Optional', 'Inquired', 'Requested'), 'Confirmed')
        if body.get('SendConfirmationEmail', True):
            self.store.mails.extend({'confirmed': r['Id']} for r in records)
        return {'ReservationIds': body['ReservationIds']}

    def cancel(self, body):
        self.only(body, ('ReservationIds', 'PostCancellationFee', 'SendEmail', 'Notes'))
        if not body.get('Notes'):
            refuse('Invalid Notes')
        records = self.many(body, ('Optional', 'Inquired', 'Requested', 'Confirmed'), 'Canceled')
        for record in records:
            record['CancelledUtc'] = record['UpdatedUtc']
        if body.get('SendEmail', True):
            self.store.mails.extend({'canceled': r['Id']} for r in records)
        return {'ReservationIds': body['ReservationIds']}

    def one(self, body, before, after):
        return self.many({'ReservationIds': [body.get('ReservationId')]}, before, after)[0]

    def start(self, body):
        self.only(body, ('ReservationId',))
        if not self.found('reservations', body.get('ReservationId'), 'ReservationId')['AssignedResourceId']:
            refuse('Reservation has no space assigned.', 403)
        self.one(body, ('Confirmed',), 'Started')
        return {}

    def process(self, body):
        self.only(body, ('ReservationId', 'CloseBills', 'AllowOpenBalance', 'Notes'))
        if body.get('AllowOpenBalance') and not body.get('Notes'):
            refuse('Invalid Notes')
        self.one(body, ('Started',), 'Processed')
        return {}

    def update_customer(self, body):
        self.only(body, CUSTOMER_UPDATE)
        record = self.found('customers', body.get('CustomerId'), 'CustomerId')
        if not record['IsActive']:
            refuse('The customer was deleted.', 403)
        for name, value in body.items():
            if name == 'CustomerId' or value is None or value == '':
                continue            # leaves the value: nothing can be cleared
            if name == 'Email' and '@' not in value:
                refuse('Invalid Email')
            record[name] = value
        self.stamp(self.store, 'customers', record)
        return {k: v for k, v in record.items() if k not in ('ActivityState', 'MergeTargetId')}

    def update_resources(self, body):
        self.only(body, ('ResourceUpdates',))
        pairs = self.updates(body, 'resources', 'ResourceUpdates', 'ResourceId', RESOURCE_UPDATE)
        for _, values in pairs:
            if values.get('State', 'Clean') not in RESOURCE_STATES:
                refuse('Invalid State')
        for record, values in pairs:
            record.update(values)
            self.stamp(self.store, 'resources', record)
        return {'Resources': [r for r, _ in pairs]}


if __name__ == '__main__':
    serve(Mews)
