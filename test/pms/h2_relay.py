#!/usr/bin/python3
"""Hands the frames of HTTP/2 on, and spoils them when it is told to.

Clients speak TLS with it, and it speaks plain HTTP/2 with the server behind,
which must be told to do without the dynamic tables of HPACK, so that a frame
may be left out.  It prints its port.

    POST /script    (in HTTP/1.1, to the port that is printed second) a list of
                    steps, each for the next request that it is for:
                    {"do": ..., "write": true: it is no GET, "code": 2}
    GET  /log       the requests: [connection, stream, is it a write, what was done]

What can be done:

    refuse      REFUSED_STREAM (or code); the server does not see the request
    late        the same, after all of the request came
    goaway      GOAWAY whose last stream is an earlier one; nor does it here
    reset       the server acts, and instead of its answer the stream is reset
    cut         the server acts, and instead of its answer the connection breaks
    cut_early   the connection breaks, the server does not see the request
    half        it breaks in the middle of the answer's body
    garbage     the server acts, and a frame that cannot be comes instead
    alone       all other connections break first; then as cut
"""
import argparse
import json
import os
import select
import socket
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA, HEADERS, RST_STREAM, GOAWAY = 0, 1, 3, 7
END_STREAM = 1
LOG = []
SCRIPT = []
CONNECTIONS = []
LOCK = threading.Lock()


def frame(kind, stream, payload, flags=0):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def first_field(flags, payload):
    """The first byte that stands for a header field."""
    place = (1 if flags & 8 else 0) + (5 if flags & 0x20 else 0)
    while payload[place] & 0xe0 == 0x20:        # the size of the table
        place += 1
        if payload[place - 1] & 0x1f == 0x1f:
            while payload[place] & 0x80:
                place += 1
            place += 1
    return payload[place]


def frames(data, buffer):
    """All whole frames of what came: (head, payload)."""
    buffer += data
    while len(buffer) >= 9:
        end = 9 + int.from_bytes(buffer[:3], 'big')
        if len(buffer) < end:
            return
        yield bytes(buffer[:9]), bytes(buffer[9:end])
        del buffer[:end]


class Connection:
    """Served by one thread; others may only break it."""

    def __init__(self, client, server, number):
        self.client, self.server, self.number = client, server, number
        self.dropped = set()    # streams that the server does not see
        self.steps = {}         # stream -> step, when its answer comes
        self.late = {}          # or when the request is there

    def reset(self):
        """Break it by RST, in its own thread."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        raise ConnectionResetError

    def cut(self):
        for sock in (self.client, self.server):
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self):
        # one that does not want HTTP/2 any more: as it comes
        plain = self.client.selected_alpn_protocol() != 'h2'
        preface = 24
        out, back = bytearray(), bytearray()
        while True:
            ready = [self.client] if self.client.pending() else select.select([self.client, self.server], [], [])[0]
            if self.client in ready:
                data = self.client.recv(65536)
                if not data:
                    return
                if plain:
                    self.server.sendall(data)
                    continue
                if preface:
                    self.server.sendall(data[:preface])
                    data, preface = data[preface:], max(preface - len(data), 0)
                for head, payload in frames(data, out):
                    self.of_client(head, payload)
            if self.server in ready:
                data = self.server.recv(65536)
                if not data:
                    return
                if plain:
                    self.client.sendall(data)
                    continue
                for head, payload in frames(data, back):
                    self.of_server(head, payload)

    def of_client(self, head, payload):
        kind, flags, stream = head[3], head[4], struct.unpack('>I', head[5:])[0]
        if kind == HEADERS and not self.request(stream, first_field(flags, payload) != 0x82):
            self.dropped.add(stream)
        if stream not in self.dropped:
            self.server.sendall(head + payload)
        elif stream in self.late and flags & END_STREAM:
            self.refuse(stream, self.late.pop(stream))

    def refuse(self, stream, step):
        self.client.sendall(frame(RST_STREAM, stream, struct.pack('>I', step.get('code', 7))))

    def request(self, stream, write):
        """A request; does the server see it?"""
        with LOCK:
            step = next((s for s in SCRIPT if s.get('write', write) == write), None)
            if step:
                SCRIPT.remove(step)
            LOG.append([self.number, stream, write, step['do'] if step else None])
            others = [c for c in CONNECTIONS if c is not self]
        if step is None:
            return True
        if step['do'] == 'refuse':
            self.refuse(stream, step)
        elif step['do'] == 'goaway':
            self.client.sendall(frame(GOAWAY, 0, struct.pack('>II', max(stream - 2, 0), 0)))
        elif step['do'] == 'late':
            self.late[stream] = step
        elif step['do'] == 'cut_early':
            self.reset()
        else:
            if step['do'] == 'alone':
                for other in others:
                    other.cut()
            self.steps[stream] = step
            return True
        return False

    def of_server(self, head, payload):
        kind, stream = head[3], struct.unpack('>I', head[5:])[0]
        step = self.steps.get(stream) if kind in (HEADERS, DATA) else None
        if step is None:
            self.client.sendall(head + payload)
        elif step['do'] == 'reset':
            if kind == HEADERS:
                self.client.sendall(frame(RST_STREAM, stream, struct.pack('>I', step.get('code', 2))))
        elif step['do'] == 'garbage':
            self.client.sendall(frame(DATA, 0, b'nonsense'))    # of no stream
            del self.steps[stream]
            self.dropped.add(stream)
        elif step['do'] == 'half' and kind == HEADERS:
            self.client.sendall(head + payload)
        elif step['do'] == 'half':
            self.client.sendall(frame(DATA, stream, payload[:len(payload) // 2]))
            self.cut()
        else:
            self.reset()


def serve(sock, context, port, number):
    connection = None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = context.wrap_socket(sock, server_side=True)
        with socket.create_connection(('127.0.0.1', port)) as server:
            connection = Connection(sock, server, number)
            with LOCK:
                CONNECTIONS.append(connection)
            connection.serve()
    except OSError:
        pass
    finally:
        with LOCK:
            if connection:
                CONNECTIONS.remove(connection)
        sock.close()


class Control(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        with LOCK:
            if self.path == '/script':
                SCRIPT[:] = json.loads(body)
                LOG.clear()
            data = json.dumps({'log': LOG, 'left': SCRIPT}).encode()
        self.send_response_only(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cert', required=True)
    parser.add_argument('--key', required=True)
    parser.add_argument('--to', type=int, required=True)
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    context.set_alpn_protocols(['h2', 'http/1.1'])
    listener = socket.create_server(('127.0.0.1', 0), backlog=64)
    control = ThreadingHTTPServer(('127.0.0.1', 0), Control)
    control.daemon_threads = True
    threading.Thread(target=control.serve_forever, daemon=True).start()
    print(listener.getsockname()[1], control.server_address[1], flush=True)
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)
    threading.Thread(target=watch, daemon=True).start()
    number = 0
    while True:
        sock, _ = listener.accept()
        number += 1
        threading.Thread(target=serve, args=(sock, context, options.to, number), daemon=True).start()


if __name__ == '__main__':
    main()
