#!/usr/bin/python3
"""A server that misbehaves on purpose, for tests of the network.

What it does is said by the last part of the path, what it saw by GET /log: a
list of [connection, method, path, headers, body].  It prints its port.  With
--cert it speaks TLS.

    /ok /broken/... see BEHAVIOURS; answers are {"data": []} if nothing is said
    POST /script    a list of answers, given one after the other to other
                    paths: {"status", "headers", "body", "delay"}; "close":
                    the connection is closed without an answer; "match": for
                    paths with that text only; "repeat": again and again
"""
import argparse
import gzip
import json
import socket
import ssl
import threading
import time
import zlib

LOG = []
SCRIPT = []
LOCK = threading.Lock()
BUSY = [0, 0]                    # now, and at most


def head(status=200, headers=(), length=None, extra=''):
    lines = ['HTTP/1.1 %d X' % status, 'Content-Type: application/json'] + ['%s: %s' % h for h in headers]
    if length is not None:
        lines.append('Content-Length: %d' % length)
    return ('\r\n'.join(lines) + '\r\n' + extra + '\r\n').encode()


def answer(body=b'{"data": []}', status=200, headers=()):
    return head(status, headers, len(body)) + body


def trickle(sock, data, seconds):
    for byte in data:
        sock.sendall(bytes([byte]))
        time.sleep(seconds)


def slow_body(sock):
    sock.sendall(head(length=100000))
    trickle(sock, b' ' * 100000, .1)


def slow_head(sock):
    trickle(sock, b'HTTP/1.1 200 OK\r\n' + b'X-A: b\r\n' * 100000, .1)


def continue_forever(sock):
    while True:
        sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        time.sleep(.1)


def many_headers(sock):
    sock.sendall(b'HTTP/1.1 200 OK\r\n' + b'Set-Cookie: a=b; path=/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n' * 100000 + b'\r\n')


BEHAVIOURS = {
    'ok': lambda s: s.sendall(answer()),
    'slow-body': slow_body,
    'slow-head': slow_head,
    'continue': continue_forever,
    'many-headers': many_headers,
    'long-header': lambda s: s.sendall(b'HTTP/1.1 200 OK\r\nX-A: ' + b'x' * 5000000 + b'\r\n\r\n'),
    'hang': lambda s: time.sleep(60),
    'wrong-length': lambda s: (s.sendall(head(length=1000) + b'{"data": []}'), s.shutdown(socket.SHUT_RDWR)),
    'chunk-garbage': lambda s: s.sendall(head(extra='Transfer-Encoding: chunked\r\n') + b'zz\r\nnonsense'),
    'double-gzip': lambda s: s.sendall(answer(gzip.compress(gzip.compress(b'{"data": []}')), headers=[('Content-Encoding', 'gzip')])),
    'gzip-garbage': lambda s: s.sendall(answer(b'no gzip at all', headers=[('Content-Encoding', 'gzip')])),
    'deflate': lambda s: s.sendall(answer(zlib.compress(b'{"data": [{"id": "deflated"}]}'), headers=[('Content-Encoding', 'deflate')])),
    'gzip-bomb': lambda s: s.sendall(answer(gzip.compress(b' ' * 100000000, 9), headers=[('Content-Encoding', 'gzip')])),
    'html': lambda s: s.sendall(answer(b'<html>Please log in</html>')),
    'bom': lambda s: s.sendall(answer(b'\xef\xbb\xbf{"data": []}')),
    'ndjson': lambda s: s.sendall(answer(b'{"data": []}\n{"data": []}\n')),
    'redirect': lambda s: s.sendall(answer(b'', 302, [('Location', 'https://elsewhere.example/x?secret=1')])),
    'redirect-file': lambda s: s.sendall(answer(b'', 302, [('Location', 'file:///etc/passwd')])),
    'redirect-nowhere': lambda s: s.sendall(answer(b'', 301)),
    'not-http': lambda s: s.sendall(b'SSH-2.0-OpenSSH_9.2\r\n'),
}


def scripted(sock, path):
    with LOCK:
        place = next((i for i, s in enumerate(SCRIPT) if s.get('match', '') in path), None)
        step = {} if place is None else SCRIPT[place]
        if place is not None and not step.get('repeat'):
            del SCRIPT[place]
    time.sleep(step.get('delay', 0))
    if step.get('close'):
        sock.shutdown(socket.SHUT_RDWR)
        return
    body = step.get('body', '{"data": []}')
    sock.sendall(answer((body if isinstance(body, str) else json.dumps(body)).encode(), step.get('status', 200),
                        list(step.get('headers', {}).items())))


def requests(sock, number):
    """All requests of a connection."""
    file = sock.makefile('rb')
    while True:
        line = file.readline().decode('latin-1').split()
        if len(line) != 3:
            return
        headers = {}
        while True:
            text = file.readline().decode('latin-1').strip()
            if not text:
                break
            name, _, value = text.partition(':')
            headers[name.strip()] = value.strip()
        body = file.read(int(headers.get('Content-Length') or 0)).decode()
        method, path = line[0], line[1]
        if path == '/log':
            sock.sendall(answer(json.dumps({'log': LOG, 'most': BUSY[1]}).encode()))
            continue
        if path == '/script':
            with LOCK:
                SCRIPT[:] = json.loads(body)
                LOG.clear()
                BUSY[1] = 0
            sock.sendall(answer(b'{}'))
            continue
        with LOCK:
            LOG.append([number, method, path, headers, body, time.time()])
            BUSY[0] += 1
            BUSY[1] = max(BUSY)
        try:
            behaviour = BEHAVIOURS.get(path.partition('?')[0].rpartition('/')[2])
            behaviour(sock) if behaviour else scripted(sock, path)
        finally:
            with LOCK:
                BUSY[0] -= 1


def serve(sock, number, context):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        requests(sock, number)
    except (OSError, ssl.SSLError):
        pass
    finally:
        sock.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cert')
    parser.add_argument('--key')
    options = parser.parse_args()
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        context.set_alpn_protocols(['http/1.1'])
    listener = socket.create_server(('127.0.0.1', 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    number = 0
    while True:
        sock, _ = listener.accept()
        number += 1
        threading.Thread(target=serve, args=(sock, number, context), daemon=True).start()


if __name__ == '__main__':
    main()
