#!/usr/bin/python3
"""A PMS whose lists, details and queues are as odd as a test wants them.

Records are put, edited and deleted as in fake_pms.py; how a list behaves is
said by  POST /_control/api/COLLECTION  with members of API below.

    GET    /odd/COLLECTION?since=&until=&page=&size=&offset=&cursor=
    GET    /odd/COLLECTION/ID               the detail
    GET    /odd/COLLECTION/_batch?ids=A,B   details of several
    GET    /queue/NAME?limit=N              reads events: they are gone then
    POST   /queue/NAME/ack                  or only then, if NAME is "acked"

    POST   /_control/api/COLLECTION         see API
    POST   /_control/script/COLLECTION      [{status, body, headers}]: the next answers
    POST   /_control/fill/COLLECTION        {count, start, every, stride, ...}: many records
    POST   /_control/events/NAME            [events]
    DELETE /_control/log
"""
import json
import re
import sys
from datetime import datetime, timedelta, timezone

import fake_pms
from fake_pms import Handler

API = {
    'stamp': 'updatedAt',       # member with the time of a change
    'format': 'iso',            # of since and until: iso, epoch, epoch_ms, or a pattern of strptime
    'zone_hours': 0,            # of a naive pattern
    'fractions': True,          # False: refused
    'start': 'inclusive',       # or exclusive
    'end': 'exclusive',         # or inclusive
    'max_window': None,         # seconds; refuses longer ones, and those without an end
    'order': 'asc',
    'paging': 'page',           # page, offset, offset_page, cursor, last_id, next_url, link, none
    'max_size': 1000,           # larger ones are refused
    'clamp': None,              # larger ones are made smaller, silently
    'heavy': None,              # larger ones are answered with 408
    'url': 'absolute',          # of next_url: absolute, relative, scheme_less, foreign
    'shape': 'list',            # list, map, ids, summaries, nested, parents
    'no_content': False,        # 204 for an empty page
    'total': True,              # True: right; a number: that; None: none
    'batch': 1000,
    'lacking': [],              # members that a detail does not have
}


class OddStore(fake_pms.Store):
    def fill(self, options):
        self.api, self.scripts, self.queues = {}, {}, {}


def parse(text, api):
    if api['format'] in ('epoch', 'epoch_ms'):
        number = int(text)
        return datetime.fromtimestamp(number / (1000 if api['format'] == 'epoch_ms' else 1), timezone.utc)
    if api['format'] == 'iso':
        if not api['fractions'] and '.' in text:
            raise ValueError('fraction')
        return datetime.fromisoformat(text.replace('Z', '+00:00'))
    return datetime.strptime(text, api['format']).replace(tzinfo=timezone(timedelta(hours=api['zone_hours'])))


def stamp_of(record, api):
    text = record.get(api['stamp'])
    if not text:
        return datetime.min.replace(tzinfo=timezone.utc)
    text = re.sub(r'(\.\d{6})\d+', r'\1', text.replace('Z', '+00:00'))
    stamp = datetime.fromisoformat(text)
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=timezone(timedelta(hours=api['zone_hours'])))


class Odd(Handler):
    def route(self, path):
        if path[:1] == ['queue']:
            self.queue(path[1], path[2:])
        elif path[:1] != ['odd']:
            super().route(path)
        elif len(path) == 2:
            self.list(path[1])
        else:
            self.detail(path[1], path[2])

    # -- lists ------------------------------------------------------------
    def list(self, coll):
        with self.store.lock:
            script = self.store.scripts.get(coll)
            if script:
                answer = script.pop(0)
                self.reply(answer.get('status', 200), answer.get('body'), answer.get('headers', {}).items(),
                           answer['raw'].encode() if 'raw' in answer else None)
                return
            api = {**API, **self.store.api.get(coll, {})}
            try:
                rows = self.filtered(coll, api)
            except ValueError as error:
                self.reply(400, {'message': 'bad range: %s' % error})
                return
            size = int(self.query.get('size', 50))
            if size > api['max_size']:
                self.reply(400, {'message': 'size is at most %d' % api['max_size']})
            elif api['heavy'] and size > api['heavy']:
                self.reply(408, {'message': 'too heavy'})
            else:
                self.page(coll, api, rows, min(size, api['clamp'] or size))

    def filtered(self, coll, api):
        rows = sorted(self.store.records.get(coll, {}).values(),
                      key=lambda r: (stamp_of(r, api), str(r['id'])), reverse=api['order'] == 'desc')
        since, until = self.query.get('since'), self.query.get('until')
        since, until = since and parse(since, api), until and parse(until, api)
        if api['max_window']:
            if not since or not until or (until - since).total_seconds() > api['max_window']:
                raise ValueError('window')
        if since and since == until:
            return [r for r in rows if stamp_of(r, api) == since]
        return [r for r in rows
                if (not since or stamp_of(r, api) > since or api['start'] == 'inclusive' and stamp_of(r, api) == since) and
                (not until or stamp_of(r, api) < until or api['end'] == 'inclusive' and stamp_of(r, api) == until)]

    def page(self, coll, api, rows, size):
        paging, query, headers = api['paging'], self.query, []
        if paging == 'page':
            first = (int(query.get('page', 1)) - 1) * size
        elif paging == 'offset':
            first = int(query.get('offset', 0))
        elif paging == 'offset_page':
            first = int(query.get('offset', 0)) * size
        elif paging == 'last_id':
            ids = [str(r['id']) for r in rows]
            first = ids.index(query['cursor']) + 1 if query.get('cursor') in ids else 0
        elif paging == 'none':
            first, size = 0, len(rows)
        else:
            first = int(query.get('cursor') or query.get('after') or 0)
        page = rows[first:first + size]
        more = first + size < len(rows)
        body = {'data': self.shaped(api, page)}
        if api['total'] is not None:
            body['total'] = len(rows) if api['total'] is True else api['total']
        if paging in ('page', 'offset', 'offset_page'):
            body['hasMore'] = more
        elif paging == 'cursor':
            body['cursor'] = str(first + size) if more else None
        elif paging in ('next_url', 'link') and more:
            rest = '/odd/%s?size=%d&after=%d' % (coll, size, first + size)
            here = '127.0.0.1:%d' % self.server.server_address[1]
            url = {'absolute': 'http://' + here + rest, 'relative': rest, 'scheme_less': here + rest,
                   'foreign': 'http://169.254.169.254' + rest}[api['url']]
            if paging == 'link':
                headers.append(('Link', '<%s>; rel="next"' % url))
            else:
                body['next'] = url
        if not page and api['no_content']:
            self.reply(204)
        else:
            self.reply(200, body['data'] if api['shape'] == 'ids' else body, headers)

    def shaped(self, api, page):
        shape = api['shape']
        if shape == 'map':
            return {str(r['id']): r for r in page} or []
        if shape == 'ids':
            return [r['id'] for r in page]
        if shape == 'summaries':
            return [{'id': r['id'], api['stamp']: r.get(api['stamp'])} for r in page]
        if shape == 'nested':
            return [{'propertyID': 'P1', 'items': page}] if page else []
        if shape == 'parents':
            return [{'id': r['id'], 'modified': r[api['stamp']],
                     'guest': {'name': r['name']} if r.get('name') else None} for r in page]
        return page

    # -- details ----------------------------------------------------------
    def detail(self, coll, rid):
        with self.store.lock:
            api = {**API, **self.store.api.get(coll, {})}
            records = {str(k): v for k, v in self.store.records.get(coll, {}).items()}
            if rid == '_batch':
                ids = self.query['ids'].split(',')
                if len(ids) > api['batch']:
                    self.reply(400, {'message': 'too many ids'})
                    return
                if any(i not in records for i in ids):
                    self.reply(404, {'message': 'one of them does not exist'})
                    return
                self.reply(200, {'items': [{'item': self.full(api, records[i])} for i in ids]})
            elif rid not in records:
                self.reply(404, {'message': 'no such record'})
            elif records[rid].get('refused'):
                self.reply(422, {'message': 'this one cannot be shown'})
            else:
                self.reply(200, {'item': self.full(api, records[rid])})

    def full(self, api, record):
        return {k: v for k, v in record.items() if k not in api['lacking']}

    # -- queues -----------------------------------------------------------
    def queue(self, name, rest):
        with self.store.lock:
            events = self.store.queues.setdefault(name, [])
            if rest == ['ack']:
                ids = json.loads(self.body)['ids']
                self.store.queues[name] = [e for e in events if e['eventId'] not in ids]
                self.reply(204)
                return
            some = events[:int(self.query.get('limit', 20))]
            if name != 'acked':
                del events[:len(some)]
        if some:
            self.reply(200, {'events': some})
        else:
            self.reply(204)

    # -- control ----------------------------------------------------------
    def control(self, path):
        store = self.store
        with store.lock:
            if path[:1] == ['log'] and self.command == 'DELETE':
                store.log.clear()
            elif path[0] == 'api':
                store.api[path[1]] = json.loads(self.body)
            elif path[0] == 'script':
                store.scripts[path[1]] = json.loads(self.body)
            elif path[0] == 'events':
                store.queues.setdefault(path[1], []).extend(json.loads(self.body))
            elif path[0] == 'fill':
                body = json.loads(self.body)
                start = datetime.fromisoformat(body['start'].replace('Z', '+00:00'))
                for i in range(body['count']):
                    rid = body.get('prefix', 'R') + '%05d' % (i * body.get('stride', 1) % body['count'] + 1)
                    store.records.setdefault(path[1], {})[rid] = {
                        'id': rid, 'name': 'name %d' % (i + 1),
                        'updatedAt': fake_pms.iso(start + timedelta(seconds=body.get('every', 1) * i))}
            else:
                super().control(path)
                return
        self.answer(200, {})


if __name__ == '__main__':
    fake_pms.Handler = Odd
    fake_pms.Store = OddStore
    sys.exit(fake_pms.main())
