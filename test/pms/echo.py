#!/usr/bin/python3
"""A server that tells back whatever secret it was given: in errors, in
redirects, in the names of things.  Prints its port.

    /token...    access, refresh and session tokens: TOKEN in three places
    /ok...       one record
    /redirect... to an address with the request in it
    /close...    hangs up
    others       status 400, with all that came in the body
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode('utf-8', 'replace')
        came = '%s %s %s %s' % (self.command, self.path, dict(self.headers), body)
        status, answer, headers = 400, {'message': came, 'error': came, 'error_description': came}, {}
        if self.path.startswith('/token'):
            status = 200
            answer = {'access_token': 'a' + sys.argv[1] + '-access', 'refresh_token': 'r' + sys.argv[1] + '-rotated',
                      'session': 's' + sys.argv[1] + '-session', 'expires_in': 3600, 'token_type': 'Bearer'}
        elif self.path.startswith('/ok'):
            status, answer = 200, [{'id': '1', 'name': 'x', 'updatedAt': '2024-01-01T00:00:00Z'}]
        elif self.path.startswith('/redirect'):
            status, answer, headers = 302, {}, {'Location': 'http://127.0.0.1:1/' + came.replace(' ', '+').replace('\n', '')}
        elif self.path.startswith('/html'):
            answer = None
        elif self.path.startswith('/close'):
            self.close_connection = True
            return
        data = json.dumps(answer).encode() if answer is not None else b'<html>' + came.encode()
        if self.path.startswith('/html'):
            status = 200
        if 'digest' in self.path and 'Digest ' not in self.headers.get('Authorization', ''):
            status, headers = 401, {'WWW-Authenticate': 'Digest realm="x", nonce="y", qop="auth"'}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do


server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
