#!/usr/bin/python3
"""A PMS that speaks the dialect of OPERA Cloud (OHIP).

A token by Basic credentials and x-app-key; x-hotelid with every request; no
filter by the time of a change but a queue of business events that is emptied
by reading, in no order, with ids that are now texts and now numbers; 204 when
there is nothing; details by id, with the id in a list of typed ones and in
another shape than lists; whole objects for writing; cancellations of their
own; problem documents.

    POST /_control/event        an event as it is given
    GET  /_control/queue        what nobody has read
"""
import json
import random
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from base import Dialect, Refusal, persons, serve

HOTEL, SYSTEM = 'HOTEL1', 'JACK'


def refuse(status, detail, path=None, code='OPERAWS-GEN01012'):
    title = {400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found',
             415: 'Unsupported Media Type'}[status]
    body = {'type': 'https://www.rfc-editor.org/rfc/rfc9110#status.%d' % status, 'title': title, 'status': status,
            'detail': detail, 'o:errorCode': code}
    if path is not None:
        body['o:errorPath'] = path
    raise Refusal(status, body)


def typed(ids, kind):
    """The id of a type in a list of typed ids."""
    return next((i.get('id') for i in ids or [] if isinstance(i, dict) and i.get('type') == kind), None)


class Opera(Dialect):
    DEFAULTS = {'client_id': 'OPERA-CLIENT', 'client_secret': 'hotel-secret', 'app_key': 'APP-KEY',
                'zone': 'Europe/Vienna', 'scope': 'urn:opc:hgbu:ws:__myscopes__', 'delay': 0, 'duplicates': False,
                'events': True}         # false: the queue is not told

    @classmethod
    def fill(cls, store):
        rnd = random.Random(store.options.seed)
        start = store.now() - timedelta(days=5)
        store.queue, store.events = [], 0
        rooms = store.records['rooms'] = {}
        for i in range(1, store.options.rooms + 1):
            rid = str(100 + i)
            rooms[rid] = {
                'roomId': rid, 'roomType': {'roomType': 'STDK', 'roomClass': 'STD', 'shortDescription': 'King'},
                'floor': '1', 'housekeeping': {'roomStatus': {
                    'roomStatus': 'Clean' if i % 2 else 'Dirty', 'frontOfficeStatus': 'Occupied' if i % 3 == 0 else 'Vacant',
                    'housekeepingStatus': 'Vacant'}}}
        profiles, reservations = store.records['profiles'], store.records['reservations'] = {}, {}
        for i, (first, last) in enumerate(persons(rnd, store.options.guests), 1):
            pid = str(687100 + i)
            profiles[pid] = {
                'profileIdList': [{'id': pid, 'type': 'Profile'}],
                'profile': {
                    'customer': {'personName': [{'givenName': first, 'surname': last, 'nameType': 'Primary'}],
                                 'language': 'E', 'nationality': 'AT', 'vipStatus': '', 'privateProfile': False},
                    'emails': {'emailInfo': [{'email': {'emailAddress': 'guest%d@example.com' % i, 'type': 'EMAIL',
                                                        'primaryInd': True}}]},
                    'telephones': {'telephoneInfo': [{'telephone': {'phoneNumber': '+43 1 %06d' % i,
                                                                    'phoneTechType': 'PHONE', 'primaryInd': True}}]},
                    'profileType': 'Guest', 'statusCode': 'ACTIVE', 'createDateTime': cls.local(store, start),
                    'lastModifyDateTime': cls.local(store, start + timedelta(seconds=i))}}
        names = list(profiles.values())
        for i in range(1, store.options.reservations + 1):
            rid = str(571000 + i)
            arrival = datetime(2026, 12, 1) + timedelta(days=rnd.randrange(60))
            days = [(arrival + timedelta(days=n)).strftime('%Y-%m-%d') for n in (0, 1, 2)]
            guest = names[i % len(names)]
            reservations[rid] = {
                'reservationIdList': [{'id': str(813000 + i), 'type': 'Confirmation'}, {'id': rid, 'type': 'Reservation'}],
                'roomStay': {
                    'arrivalDate': days[0], 'departureDate': days[2],
                    'guestCounts': {'adults': 1 + i % 2, 'children': 0},
                    'roomRates': [{'roomType': 'STDK', 'ratePlanCode': 'BAR', 'start': days[0], 'end': days[1],
                                   'numberOfUnits': 1, 'total': {'amountBeforeTax': 120 + i}}],
                    'currentRoomInfo': {'roomType': 'STDK', **({'roomId': str(101 + i % 10)} if i % 3 else {})},
                    'guarantee': {'guaranteeCode': '6PM', 'shortDescription': '6pm Hold'},
                    'total': {'amountBeforeTax': 240 + i}},
                'reservationGuests': [{'profileInfo': {
                    'profileIdList': guest['profileIdList'],
                    'profile': {'customer': {'personName': guest['profile']['customer']['personName']}}}, 'primary': True}],
                'comments': [{'comment': {'text': {'value': 'Comment %d' % i}, 'type': 'RESERVATION',
                                          'notificationLocation': 'GEN', 'internal': False},
                              'id': str(113800 + i), 'type': 'Comment'}],
                'hotelId': HOTEL, 'reservationStatus': 'Reserved', 'createDateTime': cls.local(store, start),
                'preRegistered': False, 'allowMobileCheckout': False}
            # the vendor's own example of a detail has no such member
            if i % 4:
                reservations[rid]['lastModifyDateTime'] = cls.local(store, start + timedelta(seconds=i))

    @classmethod
    def local(cls, store, moment):
        return moment.astimezone(ZoneInfo(store.config['zone'])).strftime('%Y-%m-%d %H:%M:%S.0')

    @classmethod
    def stamp(cls, store, coll, record):
        """Note the time, and tell the queue."""
        now = cls.local(store, store.now())
        if coll == 'reservations':
            if 'lastModifyDateTime' in record:
                record['lastModifyDateTime'] = now
            cls.event(store, 'Reservation', 'UPDATE RESERVATION', typed(record['reservationIdList'], 'Reservation'))
        elif coll == 'profiles':
            record['profile']['lastModifyDateTime'] = now
            cls.event(store, 'Profile', 'UPDATE PROFILE', typed(record['profileIdList'], 'Profile'))

    @classmethod
    def event(cls, store, module, action, key):
        if not store.config['events']:
            return
        store.events += 1
        number = 1971000 + store.events
        odd = store.events % 2      # texts and numbers in one list
        event = {'businessEvent': {
            'header': {'moduleName': module, 'actionType': action, 'actionId': number if odd else str(number),
                       'primaryKey': key if odd else int(key), 'publisherId': 57475,
                       'createdDateTime': cls.local(store, store.now()), 'hotelId': HOTEL},
            'details': [{'dataElement': 'RESORT', 'newValue': HOTEL}]},
            'businessEventId': {'id': str(number)}}
        store.queue.append(event)
        if store.config['duplicates']:
            store.queue.append(event)

    def control(self, path):
        store = self.store
        if path[0] in ('event', 'queue'):
            with store.lock:
                if path[0] == 'event':
                    store.queue.append(json.loads(self.body))
                self.answer(200, store.queue)
            return
        super().control(path)

    def vanish(self, coll, rid):
        super().vanish(coll, rid)
        if coll == 'reservations':
            self.event(self.store, 'Reservation', 'DELETE RESERVATION', rid)

    # -- addresses --------------------------------------------------------
    def serve(self, path):
        config = self.store.config
        if config['delay']:
            time.sleep(config['delay'])
        if self.headers.get('x-app-key') != config['app_key']:
            refuse(401, 'x-app-key is missing or invalid', 'x-app-key')
        if path == ['oauth', 'v1', 'tokens']:
            return self.token()
        if not self.bearer_is_good():
            refuse(401, 'Invalid token')
        if self.headers.get('x-hotelid') != HOTEL:
            refuse(400, 'Header x-hotelid is missing or invalid', 'x-hotelid')
        if 'hotels' in path and path[path.index('hotels') + 1:][:1] != [HOTEL]:
            refuse(403, 'No access to this hotel')
        where = (self.command, *path[:2])
        if where == ('GET', 'int', 'v1') and path[2:4] == ['externalSystem', SYSTEM] and path[6:] == ['businessEvents']:
            return self.business_events()
        if path[:5] == ['rsv', 'v1', 'hotels', HOTEL, 'reservations']:
            return self.reservations(path[5:])
        if path[:3] == ['crm', 'v1', 'profiles']:
            return self.profiles(path[3:])
        if where == ('GET', 'fof', 'v1') and path[4:] == ['rooms']:
            return self.rooms()
        if where == ('PUT', 'hsk', 'v1') and path[4:] == ['rooms', 'status']:
            return self.room_status()
        refuse(404, 'No such resource')

    def token(self):
        form = self.form_body()
        if self.command != 'POST' or form is None:
            refuse(415, 'The token is asked for with a form')
        if self.basic_credentials() != (self.store.config['client_id'], self.store.config['client_secret']):
            raise Refusal(401, {'error': 'invalid_client'})
        if form.get('grant_type') != 'client_credentials' or form.get('scope') != self.store.config['scope']:
            raise Refusal(400, {'error': 'invalid_scope'})
        return 200, {'access_token': self.new_token(), 'expires_in': self.store.config['token_lifetime'],
                     'token_type': 'Bearer'}

    def number(self, name, default, low, high):
        try:
            value = int(self.query.get(name, default))
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            refuse(400, 'Invalid value for parameter %s' % name, name)
        return value

    # -- reading ----------------------------------------------------------
    def business_events(self):
        limit = self.number('limit', 20, 1, 20)
        queue = self.store.queue
        if not queue:
            return 204, None
        taken, self.store.queue = queue[:limit], queue[limit:]
        return 200, {'businessEventData': taken[::-1]}      # in no order

    def page(self, rows, name, member, most):
        limit, offset = self.number('limit', 20, 1, most), self.number('offset', 0, 0, 10**9)
        page = rows[offset:offset + limit]
        if not page:
            return 204, None
        return 200, {name: {member: page, **({} if name == 'hotelRoomsDetails' else self.totals(rows, page, offset, limit))},
                     **(self.totals(rows, page, offset, limit) if name == 'hotelRoomsDetails' else {})}

    def totals(self, rows, page, offset, limit):
        return {'totalPages': -(-len(rows) // limit), 'offset': offset, 'limit': limit,
                'hasMore': offset + limit < len(rows), 'totalResults': min(len(rows), 1000), 'count': len(page)}

    def summary(self, r):
        stay = r['roomStay']
        person = r['reservationGuests'][0]['profileInfo']
        name = person['profile']['customer']['personName'][0]
        return {'reservationIdList': r['reservationIdList'],
                'roomStay': {'arrivalDate': stay['arrivalDate'], 'departureDate': stay['departureDate'],
                             'adultCount': stay['guestCounts']['adults'], 'childCount': stay['guestCounts']['children'],
                             'roomType': stay['currentRoomInfo']['roomType'], 'ratePlanCode': stay['roomRates'][0]['ratePlanCode'],
                             **({'roomId': stay['currentRoomInfo']['roomId']} if 'roomId' in stay['currentRoomInfo'] else {})},
                'reservationGuest': {'givenName': name['givenName'], 'surname': name['surname'],
                                     'id': person['profileIdList'][0]['id'], 'type': 'Profile'},
                'hotelId': HOTEL, 'createDateTime': r['createDateTime'], 'reservationStatus': r['reservationStatus'],
                **{m: r[m] for m in ('lastModifyDateTime',) if m in r}}

    def reservations(self, rest):
        if self.command == 'GET' and not rest:
            rows = sorted(self.store.records['reservations'].values(), key=lambda r: typed(r['reservationIdList'], 'Reservation'))
            low, high = self.query.get('arrivalStartDate'), self.query.get('arrivalEndDate')
            for name, bound in (('arrivalStartDate', low), ('arrivalEndDate', high)):
                try:
                    if bound is not None:
                        datetime.strptime(bound, '%Y-%m-%d')
                except ValueError:
                    refuse(400, 'Invalid value for parameter %s' % name, name)
            rows = [r for r in rows if (low or '') <= r['roomStay']['arrivalDate'] <= (high or '9')]
            return self.page([self.summary(r) for r in rows], 'reservations', 'reservationInfo', 200)
        record = self.store.records['reservations'].get(rest[0]) if rest else None
        if record is None:
            refuse(404, 'Reservation was not found', 'reservationId')
        if self.command == 'GET' and len(rest) == 1:
            return 200, {'reservations': {'reservation': [record]}}
        if self.command == 'PUT' and len(rest) == 1:
            return self.put_reservation(rest[0], record)
        if self.command == 'POST' and rest[1:] == ['cancellations']:
            return self.cancel(rest[0], record)
        refuse(404, 'No such resource')

    def profiles(self, rest):
        if self.command == 'GET' and not rest:
            rows = sorted(self.store.records['profiles'].values(), key=lambda p: typed(p['profileIdList'], 'Profile'))
            limit, offset = self.number('limit', 20, 1, 200), self.number('offset', 0, 0, 10**9)
            page = rows[offset:offset + limit]
            if not page:
                return 204, None
            info = [{'profileIdList': p['profileIdList'], 'profile': {'customer': p['profile']['customer']}} for p in page]
            return 200, {'profileSummaries': {'profileInfo': info, **self.totals(rows, page, offset, limit)}}
        profile = self.store.records['profiles'].get(rest[0]) if rest else None
        if profile is None:
            refuse(404, 'Profile was not found', 'profileId')
        if self.command == 'GET':
            return 200, {'profiles': {'profileInfo': [profile]}}
        if self.command == 'PUT':
            return self.put_profile(rest[0], profile)
        refuse(404, 'No such resource')

    def rooms(self):
        rows = sorted(self.store.records['rooms'].values(), key=lambda r: r['roomId'])
        if 'roomNumberWildcard' in self.query:
            rows = [r for r in rows if r['roomId'] == self.query['roomNumberWildcard']]
        return self.page(rows, 'hotelRoomsDetails', 'room', 200)

    # -- writing ----------------------------------------------------------
    def bad_request(self, detail):
        refuse(400, detail)

    def put_reservation(self, rid, record):
        body = self.json_body(self.bad_request)
        given = body.get('reservations')
        if not isinstance(given, list) or len(given) != 1:
            refuse(400, 'One reservation is needed', 'reservations')
        given = given[0]
        if set(given) - set(record) - {'reservationIdList', 'lastModifyDateTime'}:
            refuse(400, 'Unknown member %s' % sorted(set(given) - set(record))[0], 'reservations')
        # a whole object: what is not there would be lost
        for member in ('reservationIdList', 'roomStay', 'reservationGuests', 'hotelId', 'reservationStatus', 'comments'):
            if member not in given:
                refuse(400, 'Member %s is missing' % member, 'reservations.' + member)
        for member in ('arrivalDate', 'departureDate', 'roomRates', 'guestCounts', 'guarantee'):
            if member not in given['roomStay']:
                refuse(400, 'Member %s is missing' % member, 'reservations.roomStay.' + member)
        if typed(given['reservationIdList'], 'Reservation') != rid:
            refuse(400, 'The id is that of another reservation', 'reservations.reservationIdList')
        if given['reservationStatus'] != record['reservationStatus']:
            refuse(400, 'The status cannot be changed here', 'reservations.reservationStatus', 'OPERAWS-RSV00123')
        if record['reservationStatus'] == 'Cancelled':
            refuse(403, 'The reservation is cancelled', code='OPERAWS-RSV00200')
        if given['roomStay']['departureDate'] <= given['roomStay']['arrivalDate']:
            refuse(400, 'Departure must be after arrival', 'reservations.roomStay.departureDate')
        kept = {m: record[m] for m in ('createDateTime', 'lastModifyDateTime') if m in record}
        record.clear()
        record.update({**given, **kept})
        self.stamp(self.store, 'reservations', record)
        # a summary, not what reading gives
        return 200, {'reservations': {'reservation': [self.summary(record)]}, 'links': []}

    def cancel(self, rid, record):
        body = self.json_body(self.bad_request)
        if not isinstance(body.get('reason'), dict) or not body['reason'].get('code'):
            refuse(400, 'A reason is needed', 'reason.code')
        given = body.get('reservations')
        if not isinstance(given, list) or len(given) != 1 or given[0].get('hotelId') != HOTEL or \
                typed(given[0].get('reservationIdList'), 'Reservation') != rid:
            refuse(400, 'The reservation is not the one of the path', 'reservations')
        if record['reservationStatus'] not in ('Reserved', 'Requested', 'Waitlisted'):
            refuse(403, 'A reservation that is %s cannot be cancelled' % record['reservationStatus'],
                   code='OPERAWS-RSV00321')
        record['reservationStatus'] = 'Cancelled'
        self.stamp(self.store, 'reservations', record)
        return 201, {'cxlActivityLog': [{'reason': body['reason'], 'cancellationIdList': [
            {'id': 'CXL' + rid, 'type': 'CancelActivity'}]}]}

    def put_profile(self, pid, profile):
        body = self.json_body(self.bad_request)
        if typed(body.get('profileIdList'), 'Profile') != pid:
            refuse(400, 'The id is that of another profile', 'profileIdList')
        given = body.get('profileDetails')
        for member in ('customer', 'emails', 'telephones', 'profileType', 'statusCode'):
            if not isinstance(given, dict) or member not in given:
                refuse(400, 'Member %s is missing' % member, 'profileDetails.' + member)
        if not given['customer'].get('personName', [{}])[0].get('surname'):
            refuse(400, 'A profile needs a surname', 'profileDetails.customer.personName')
        given['createDateTime'] = profile['profile']['createDateTime']
        profile['profile'] = given
        self.stamp(self.store, 'profiles', profile)
        return 200, {'links': []}

    def room_status(self):
        body = self.json_body(self.bad_request)
        rooms = [self.store.records['rooms'].get(r.get('roomId')) for r in body.get('roomList') or []]
        if not rooms or None in rooms:
            refuse(400, 'A room is not known', 'roomList')
        if body.get('housekeepingRoomStatus') not in ('Clean', 'Dirty', 'Pickup', 'Inspected', 'OutOfOrder', 'OutOfService'):
            refuse(400, 'The status is not known', 'housekeepingRoomStatus')
        for room in rooms:
            room['housekeeping']['roomStatus']['roomStatus'] = body['housekeepingRoomStatus']
        return 200, {'links': []}


if __name__ == '__main__':
    serve(Opera)
