#!/usr/bin/python3
"""A PMS that only lists, as fast as it can be read.

The sample PMS of the tests keeps a million records as objects and writes JSON
anew for every page: it would be what is measured.  This one makes its pages
first, as files, and sends them by sendfile().  It prints its port when it is
ready.

    GET /v1/reservations?page=N     {"data": [...], "total": T, "hasMore": B}

DIR/N.json is the array of a page by itself, DIR/rows.tsv the same records for
COPY; with --slow each answer takes so many milliseconds.
"""
import argparse
import json
import os
import socketserver
import time
from datetime import date, datetime, timedelta
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

FIRST = ['Anna', 'Jörg', 'Maria', 'Chen', 'Oluwaseun']
LAST = ['Müller', 'Smith', 'García', 'Wang', 'Okafor']


def record(i, n):
    """As bench.fill_pms() and bench.record_of() make it (setup.sql)."""
    start = date(2026, 1, 1) + timedelta(days=i % 300)
    return {'id': 'R%08d' % (i * 7919 % n),
            'updatedAt': (datetime(2026, 1, 1) + timedelta(seconds=i)).isoformat() + '.000Z',
            'guestName': '%s %s %d' % (FIRST[i % 5], LAST[i // 5 % 5], i),
            'checkInDate': start.isoformat(), 'checkOutDate': (start + timedelta(days=2)).isoformat(),
            'roomNumber': str(100 + i % 400), 'status': 'booked', 'balance': i % 90000 / 100, 'adults': 1 + i % 4,
            'notes': 'arrives late, number %d' % i, 'specialRequests': ['quiet', 'high floor']}


def make(options):
    """All pages as files; returns how many."""
    n = 0
    with open(os.path.join(options.dir, 'rows.tsv'), 'w') as rows:
        for first in range(0, options.records, options.page):
            n += 1
            records = [record(i, options.records) for i in range(first, min(first + options.page, options.records))]
            with open(os.path.join(options.dir, '%d.json' % n), 'w') as page:
                json.dump(records, page, ensure_ascii=False)
            for r in records:
                rows.write('\t'.join(str(v) for k, v in r.items() if k not in ('updatedAt', 'specialRequests')) +
                           '\t{quiet,"high floor"}\n')
    return n


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line:
                return
            while self.rfile.readline().strip():
                pass
            self.answer(int(parse_qs(urlsplit(line.split()[1].decode()).query).get('page', ['1'])[0]))

    def answer(self, page):
        tail = b', "total": %d, "hasMore": %s}' % (self.server.records, b'true' if page < self.server.pages else b'false')
        if self.server.slow:
            time.sleep(self.server.slow / 1000)
        try:
            with open(os.path.join(self.server.dir, '%d.json' % page), 'rb') as body:
                size = os.fstat(body.fileno()).st_size
                self.send(size, tail)
                sent = 0
                while sent < size:
                    sent += os.sendfile(self.connection.fileno(), body.fileno(), sent, size - sent)
                self.connection.sendall(tail)
        except FileNotFoundError:
            self.send(2, tail)
            self.connection.sendall(b'[]' + tail)

    def send(self, size, tail):
        self.connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: %s\r\nContent-Length: %d\r\n\r\n{"data": ' %
                                (formatdate(usegmt=True).encode(), size + len(tail) + 9))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('dir')
    parser.add_argument('--records', type=int, default=100000)
    parser.add_argument('--page', type=int, default=1000)
    parser.add_argument('--slow', type=float, default=0)
    options = parser.parse_args()
    server = Server(('127.0.0.1', 0), Handler)
    server.dir, server.records, server.slow = options.dir, options.records, options.slow
    server.pages = make(options)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
