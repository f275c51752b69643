#!/usr/bin/python3
"""A PMS that speaks the dialect of Cloudbeds v1.3: reservations, guests, rooms.

A key in x-api-key; verbs in the path and ids as parameters; naive times of the
property's zone with a space in them; numbers as texts, "" for nothing; an
object keyed by id that is [] when empty; errors as 200 with success false; and
forms for writing.
"""
import random
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from base import Dialect, Refusal, persons, serve

NAIVE = '%Y-%m-%d %H:%M:%S'
STATUSES = {'confirmed', 'not_confirmed', 'canceled', 'checked_in', 'checked_out', 'no_show'}
GUEST_FIELDS = {'guestFirstName', 'guestLastName', 'guestGender', 'guestEmail', 'guestPhone', 'guestCellPhone',
                'guestCountry', 'guestAddress1', 'guestAddress2', 'guestCity', 'guestZip', 'guestState',
                'guestBirthDate', 'guestNote'}
DOCUMENT = {'guestDocumentType', 'guestDocumentNumber', 'guestDocumentIssueDate', 'guestDocumentIssuingCountry',
            'guestDocumentExpirationDate'}
PROPERTY = '310000'


def fail(message):
    """The usual way of this PMS to refuse."""
    raise Refusal(200, {'success': False, 'message': message})


class Cloudbeds(Dialect):
    DEFAULTS = {'api_key': 'cbat_sample', 'zone': 'America/New_York', 'max_page_size': 100}

    @classmethod
    def fill(cls, store):
        rnd = random.Random(store.options.seed)
        start = store.now() - timedelta(days=5)
        zone = ZoneInfo(store.config['zone'])
        rooms = store.records['rooms'] = {}
        for i in range(1, store.options.rooms + 1):
            rid = '601917-%d' % i
            rooms[rid] = {
                'roomID': rid, 'roomName': str(400 + i), 'roomDescription': '', 'maxGuests': 2, 'isPrivate': True,
                'isVirtual': False, 'roomBlocked': i % 4 == 0, 'roomTypeID': '601917', 'roomTypeName': 'King',
                'roomTypeNameShort': 'K', 'doorlockID': ''}
        reservations, guests = store.records['reservations'], store.records['guests'] = {}, {}
        for i, (first, last) in enumerate(persons(rnd, store.options.reservations), 1):
            rid, gid = '81760%08d' % i, '1631%05d' % i
            changed = (start + timedelta(seconds=i // 3)).astimezone(zone).strftime(NAIVE)
            arrival = datetime(2026, 12, 1) + timedelta(days=rnd.randrange(60))
            grand_total = rnd.randrange(10000, 90000) / 100
            reservations[rid] = {
                'propertyID': PROPERTY, 'reservationID': rid, 'dateCreated': changed, 'dateModified': changed,
                'status': 'canceled' if i % 9 == 0 else 'confirmed', 'guestID': gid, 'profileID': str(7000 + i),
                'startDate': arrival.strftime('%Y-%m-%d'), 'endDate': (arrival + timedelta(days=2)).strftime('%Y-%m-%d'),
                'adults': str(1 + i % 2), 'children': '0', 'total': grand_total,
                'balance': round(grand_total / 2, 2), 'source': 'Phone', 'sourceID': 's-3', 'estimatedArrivalTime': '',
                'room': '601917-%d' % (1 + i % 10) if i % 3 else ''}
            guests[gid] = {
                'guestID': gid, 'reservationID': rid, 'guestFirstName': first, 'guestLastName': last,
                'guestGender': 'N/A', 'guestEmail': 'guest%d@example.com' % i if i % 4 else '',
                'guestPhone': '', 'guestCellPhone': '555%04d' % i, 'guestCountry': 'PT', 'guestBirthDate': '',
                'isMainGuest': True, 'isAnonymized': False, 'guestOptIn': False, 'isMerged': False, 'newGuestID': '',
                'dateCreated': changed, 'dateModified': changed}

    @classmethod
    def stamp(cls, store, coll, record):
        if coll != 'rooms':
            record['dateModified'] = cls.local(store, store.now())

    @classmethod
    def local(cls, store, moment):
        return moment.astimezone(ZoneInfo(store.config['zone'])).strftime(NAIVE)

    def too_many(self, retry_after):
        raise Refusal(429, {'success': False, 'message': 'Too many requests'},
                      [('Retry-After', str(retry_after))] if retry_after is not None else [])

    # -- addresses --------------------------------------------------------
    def serve(self, path):
        if self.headers.get('x-api-key') != self.store.config['api_key']:
            raise Refusal(401, {'success': False, 'message': 'The access token is invalid'})
        if path[:2] != ['api', 'v1.3'] or len(path) != 3:
            raise Refusal(404, {'success': False, 'message': 'No such method'})
        method = {('GET', 'getReservations'): self.reservations, ('GET', 'getReservation'): self.reservation,
                  ('GET', 'getGuestsModified'): self.guests_modified, ('GET', 'getGuestList'): self.guest_list,
                  ('GET', 'getGuest'): self.guest, ('GET', 'getRooms'): self.rooms,
                  ('PUT', 'putReservation'): self.put_reservation,
                  ('PUT', 'putGuest'): self.put_guest}.get((self.command, path[2]))
        if method is None:
            raise Refusal(405, {'success': False, 'message': 'Method not allowed'})
        parameters = self.query if self.command == 'GET' else self.form_body()
        if parameters is None:
            fail('Parameters must be sent as application/x-www-form-urlencoded')
        for name in ('propertyID', 'propertyIDs'):
            if parameters.get(name, PROPERTY) != PROPERTY:
                fail('Parameter %s is invalid' % name)
        return 200, method(parameters)

    def between(self, rows, low, high, whole_day=False):
        """Those modified between two parameters, both included; at worst of today."""
        given = {}
        for name in (low, high):
            if name in self.query:
                try:
                    if len(self.query[name]) != 19:
                        raise ValueError
                    datetime.strptime(self.query[name], NAIVE)
                except ValueError:
                    fail('Parameter %s is invalid' % name)
                given[name] = self.query[name]
        if not given and whole_day:
            given[low] = self.local(self.store, self.store.now())[:10] + ' 00:00:00'
        return sorted((r for r in rows if given.get(low, '') <= r['dateModified'] <= given.get(high, '9')),
                      key=lambda r: r['dateModified'])

    def page(self, rows, default):
        try:
            number, size = int(self.query.get('pageNumber', 1)), int(self.query.get('pageSize', default))
        except ValueError:
            fail('Parameter pageNumber is invalid')
        if number < 1:
            fail('Parameter pageNumber is invalid')
        if not 1 <= size <= self.store.config['max_page_size']:
            fail('Parameter pageSize is invalid')
        return rows[(number - 1) * size:number * size]

    # -- reading ----------------------------------------------------------
    def main_guest(self, reservation):
        return self.store.records['guests'].get(reservation['guestID'], {})

    def reservations(self, query):
        rows = self.between(self.store.records['reservations'].values(), 'modifiedFrom', 'modifiedTo')
        if 'status' in query:
            rows = [r for r in rows if r['status'] == query['status']]
        data = []
        for r in self.page(rows, 100):
            guest = self.main_guest(r)
            row = {m: r[m] for m in ('propertyID', 'reservationID', 'dateCreated', 'dateModified', 'status', 'guestID',
                                     'profileID', 'startDate', 'endDate', 'adults', 'children', 'balance', 'sourceID')}
            row.update(guestName=('%s %s' % (guest.get('guestFirstName'), guest.get('guestLastName'))),
                       sourceName=r['source'], estimatedArrivalTime=r['estimatedArrivalTime'], thirdPartyIdentifier='', allotmentBlockCode=None)
            if query.get('includeGuestsDetails') == 'true':
                row['guestList'] = {g['guestID']: self.guest_row(g) for g in self.guests_of(r)} or []
            data.append(row)
        return {'success': True, 'data': data, 'count': len(data), 'total': len(rows)}

    def guests_of(self, reservation):
        return [g for g in self.store.records['guests'].values() if g['reservationID'] == reservation['reservationID']]

    def room_of(self, reservation):
        room = self.store.records['rooms'].get(reservation['room'], {})
        return {'roomTypeID': '601917', 'roomID': reservation['room'], 'roomName': room.get('roomName', '')}

    def guest_row(self, guest):
        # the other methods spell it guestBirthDate
        row = {k: v for k, v in guest.items() if k not in ('guestBirthDate', 'dateCreated', 'dateModified')}
        reservation = self.store.records['reservations'].get(guest['reservationID'], {'room': ''})
        return {**row, **self.room_of(reservation), 'roomTypeName': 'King', 'assignedRoom': bool(reservation['room']),
                'guestBirthdate': guest['guestBirthDate'], 'customFields': []}

    def reservation(self, query):
        r = self.store.records['reservations'].get(query.get('reservationID'))
        if r is None:
            fail('Reservation not found')
        guest, room = self.main_guest(r), self.room_of(r)
        part = {'reservationRoomID': '2131' + r['reservationID'][-5:], 'roomTypeName': 'King', 'roomTypeID': '601917',
                'subReservationID': r['reservationID'], 'startDate': r['startDate'], 'endDate': r['endDate'],
                'adults': r['adults'], 'children': r['children'], 'roomTotal': '%.2f' % r['total']}
        assigned = [{**part, 'roomName': room['roomName'], 'roomID': r['room']}] if r['room'] else []
        return {'success': True, 'data': {
            **{m: r[m] for m in ('propertyID', 'reservationID', 'dateCreated', 'dateModified', 'status', 'total',
                                 'balance', 'source', 'sourceID', 'startDate', 'endDate', 'estimatedArrivalTime')},
            'guestName': '%s %s' % (guest.get('guestFirstName'), guest.get('guestLastName')),
            'guestEmail': guest.get('guestEmail', ''), 'isAnonymized': False,
            'guestList': {g['guestID']: self.guest_row(g) for g in self.guests_of(r)} or [],
            'balanceDetailed': {'suggestedDeposit': '%.2f' % r['balance'], 'grandTotal': r['total']},
            'assigned': assigned, 'unassigned': [] if assigned else [part], 'customFields': [], 'orderId': ''}}

    def guests_modified(self, query):
        rows = self.between(self.store.records['guests'].values(), 'resultsFrom', 'resultsTo', whole_day=True)
        data = []
        for g in self.page(rows, 100):
            r = self.store.records['reservations'].get(g['reservationID'], {'room': '', 'startDate': '', 'endDate': ''})
            row = {**g, **self.room_of(r), 'startDate': r['startDate'] + ' 00:00:00',
                   'endDate': r['endDate'] + ' 00:00:00', 'customFields': []}
            for member in ('dateCreated', 'guestCellPhone', 'isMainGuest'):
                row.pop(member, None)
            data.append(row)
        return {'success': True, 'data': data, 'count': len(data), 'total': len(rows)}

    def guest_list(self, query):
        rows = self.between(self.store.records['guests'].values(), 'resultsFrom', 'resultsTo')
        page = self.page(rows, 100)
        data = {}
        for g in page:
            data[g['guestID']] = {'reservationID': g['reservationID'], 'guestID': g['guestID'],
                                  'guestName': '%s %s' % (g['guestFirstName'], g['guestLastName']),
                                  'dateCreated': g['dateCreated'], 'dateModified': g['dateModified']}
            if query.get('includeGuestInfo') == 'true':
                data[g['guestID']].update({k: v for k, v in g.items() if k.startswith('guest') or k.startswith('is')})
        return {'success': True, 'data': data or [], 'count': len(data), 'total': len(rows)}

    def guest(self, query):
        g = self.store.records['guests'].get(query.get('guestID'))
        if g is None:
            fail('Guest not found')
        return {'success': True, 'data': {k: v for k, v in g.items() if k != 'reservationID'}}

    def rooms(self, query):
        rows = self.page(list(self.store.records['rooms'].values()), 20)
        return {'success': True, 'data': [{'propertyID': PROPERTY, 'rooms': rows}] if rows else [],
                'count': len(rows), 'total': len(self.store.records['rooms'])}

    # -- writing ----------------------------------------------------------
    def put_reservation(self, form):
        r = self.store.records['reservations'].get(form.get('reservationID'))
        if r is None:
            fail('Reservation not found')
        unknown = set(form) - {'propertyID', 'reservationID', 'estimatedArrivalTime', 'status', 'checkoutDate',
                               'sendStatusChangeEmail'}
        if unknown:
            fail('Parameter %s is invalid' % sorted(unknown)[0])
        if not re.match(r'^(\d\d:\d\d)?$', form.get('estimatedArrivalTime', '')):
            fail('Parameter estimatedArrivalTime is invalid')
        if form.get('status', 'confirmed') not in STATUSES:
            fail('Parameter status is invalid')
        if 'status' in form and form['status'] != r['status']:
            if r['status'] == 'checked_out':
                fail('Reservation is checked out: its status cannot be changed')
            if form['status'] == 'checked_in' and not r['room']:
                fail('Reservation has no room assigned')
            r['status'] = form['status']
            if form.get('sendStatusChangeEmail', 'true') != 'false':
                self.store.mails.append({'reservationID': r['reservationID'], 'status': r['status']})
        if 'estimatedArrivalTime' in form:
            r['estimatedArrivalTime'] = form['estimatedArrivalTime']
        self.stamp(self.store, 'reservations', r)
        # not the shape that reading has
        return {'success': True, 'data': {'reservationID': r['reservationID'], 'status': r['status'],
                                          'estimatedArrivalTime': r['estimatedArrivalTime']}}

    def put_guest(self, form):
        g = self.store.records['guests'].get(form.get('guestID'))
        if g is None:
            fail('Guest not found')
        unknown = set(form) - GUEST_FIELDS - DOCUMENT - {'propertyID', 'guestID'}
        if unknown:
            fail('Parameter %s is invalid' % sorted(unknown)[0])
        if DOCUMENT & set(form) and DOCUMENT - set(form):
            fail('Parameter %s is required' % sorted(DOCUMENT - set(form))[0])
        if form.get('guestEmail') and '@' not in form['guestEmail']:
            fail('Parameter guestEmail is invalid')
        g.update({k: v for k, v in form.items() if k not in ('propertyID', 'guestID')})
        self.stamp(self.store, 'guests', g)
        return {'success': True}


if __name__ == '__main__':
    serve(Cloudbeds)
