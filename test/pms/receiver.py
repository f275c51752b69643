#!/usr/bin/python3
"""What alerts are sent to: a mail server (STARTTLS, AUTH PLAIN) and a webhook
(https), on loopback.  Prints three ports: mail, https, control (http).

    GET  /mails      what came by mail, decoded by Python's own parser
    GET  /posts      what was posted
    POST /behave     {"mail": "ok|reject|later|drop|slow", "post": STATUS}
"""
import argparse
import base64
import email
import email.policy
import http.server
import json
import socketserver
import ssl
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument('--cert', required=True)
parser.add_argument('--key', required=True)
parser.add_argument('--password', default='')
options = parser.parse_args()

tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(options.cert, options.key)
lock = threading.Lock()
mails = []
posts = []
behave = {'mail': 'ok', 'post': 200}


class Mail(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b'\r\n')
        self.wfile.flush()

    def handle(self):
        secure = authenticated = False
        sender, recipients, commands = None, [], []
        if behave['mail'] == 'drop':
            return
        self.say('220 test ESMTP')
        while True:
            line = self.rfile.readline(2000).decode('latin-1').rstrip('\r\n')
            if not line:
                return
            commands.append(line if not line.upper().startswith('AUTH') else 'AUTH')
            word = line.split(' ')[0].upper()
            if word in ('EHLO', 'HELO'):
                extra = [] if secure else ['STARTTLS']
                if secure and options.password:
                    extra.append('AUTH PLAIN')
                for n, item in enumerate(['test'] + extra):
                    self.say('250%s%s' % ('-' if n < len(extra) else ' ', item))
            elif word == 'STARTTLS':
                self.say('220 go')
                self.request = tls.wrap_socket(self.request, server_side=True)
                self.rfile = self.request.makefile('rb')
                self.wfile = self.request.makefile('wb')
                secure = True
            elif word == 'AUTH':
                data = line.split(' ')[2] if len(line.split(' ')) > 2 else None
                if data is None:
                    self.say('334 ')
                    data = self.rfile.readline().decode().strip()
                authenticated = base64.b64decode(data).split(b'\0')[-1].decode() == options.password
                self.say('235 ok' if authenticated else '535 no')
            elif word == 'MAIL':
                if options.password and not authenticated:
                    self.say('530 authenticate first')
                else:
                    sender = line
                    self.say('250 ok')
            elif word == 'RCPT':
                if behave['mail'] == 'reject':
                    self.say('550 no such user')
                elif behave['mail'] == 'later':
                    self.say('451 try again later')
                else:
                    recipients.append(line)
                    self.say('250 ok')
            elif word == 'DATA':
                self.say('354 go')
                data = b''
                while not data.endswith(b'\r\n.\r\n'):
                    part = self.rfile.readline(5000)
                    if not part:
                        return
                    data += part
                if behave['mail'] == 'slow':
                    time.sleep(60)
                raw = data[:-5]
                message = email.message_from_bytes(raw, policy=email.policy.default)
                with lock:
                    mails.append({
                        'secure': secure, 'authenticated': authenticated, 'sender': sender, 'recipients': recipients,
                        'commands': commands, 'headers': {k: str(v) for k, v in message.items()},
                        'subject': str(message['Subject']), 'body': message.get_content(),
                        'bare_lf': raw.replace(b'\r\n', b'').count(b'\n'),
                        'longest': max(len(x) for x in raw.split(b'\r\n')), 'defects': len(message.defects)})
                self.say('250 taken')
            elif word == 'QUIT':
                self.say('221 bye')
                return
            else:
                self.say('502 what?')


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Hook(Web):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        with lock:
            posts.append({'path': self.path, 'headers': dict(self.headers), 'body': body, 'status': behave['post']})
        self.answer(behave['post'], {'error': 'as told'} if behave['post'] >= 300 else 'ok')


class Control(Web):
    def do_GET(self):
        with lock:
            self.answer(200, mails if self.path == '/mails' else posts)

    def do_POST(self):
        behave.update(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        self.answer(200, behave)


def serve(server):
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


socketserver.ThreadingTCPServer.allow_reuse_address = True
mail_port = serve(socketserver.ThreadingTCPServer(('127.0.0.1', 0), Mail))
hook = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hook)
hook.socket = tls.wrap_socket(hook.socket, server_side=True)
hook_port = serve(hook)
control_port = serve(http.server.ThreadingHTTPServer(('127.0.0.1', 0), Control))
print(mail_port, hook_port, control_port, flush=True)
while True:
    time.sleep(3600)
