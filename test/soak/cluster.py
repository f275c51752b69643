"""A throwaway cluster, and sessions in it."""
import os
import select
import signal
import subprocess
import threading
import time

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '%s'
fsync = off
restart_after_crash = on
shared_preload_libraries = 'jacksync'
jacksync.databases = 'postgres'
log_min_messages = info
log_line_prefix = '%%m [%%p] %%q%%a '
timezone = 'UTC'
max_connections = 40
max_prepared_transactions = 4
autovacuum_naptime = 5s
"""


class Lost(Exception):
    """The session is gone; whether its last statement took effect is not known."""


class Cluster:
    def __init__(self, place, extra):
        self.data = os.path.join(place, 'data')
        self.place = place
        self.log = os.path.join(place, 'log')
        self.busy = threading.Lock()    # one restart at a time
        self.run('initdb', '-D', self.data, '-A', 'trust', '--no-sync', '--encoding=UTF8', '--locale=C')
        with open(os.path.join(self.data, 'postgresql.conf'), 'a') as conf:
            conf.write(SETTINGS % place)
            if extra:
                conf.write(open(extra).read())
        self.start()

    def run(self, *command):
        with open(os.path.join(self.place, 'out'), 'a') as out:
            subprocess.run(command, stdout=out, stderr=out, check=True)

    def start(self):
        self.run('pg_ctl', '-w', '-D', self.data, '-l', self.log, 'start')

    def stop(self, mode):
        self.run('pg_ctl', '-w', '-D', self.data, '-m', mode, 'stop')

    def conninfo(self, name='ledger'):
        return 'host=%s dbname=postgres application_name=%s' % (self.place, name)

    def query(self, sql, patience=60):
        """Rows of text; waits until the cluster is there."""
        end = time.time() + patience
        while True:
            done = subprocess.run(['psql', '-X', '-At', '-F', '\x1f', '-R', '\x1e', '-v', 'ON_ERROR_STOP=1', '-d', self.conninfo(),
                                   '-c', sql], capture_output=True, text=True)
            if done.returncode == 0:
                text = done.stdout[:-1] if done.stdout.endswith('\n') else done.stdout
                return [row.split('\x1f') for row in text.split('\x1e')] if text else []
            if done.returncode != 2 and 'shutting down' not in done.stderr and 'terminating' not in done.stderr or time.time() > end:
                raise RuntimeError(done.stderr + ' in ' + sql)
            time.sleep(.2)

    def script(self, path, **variables):
        command = ['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', self.conninfo(), '-f', path]
        for name, value in variables.items():
            command += ['-v', '%s=%s' % (name, value)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def wal(self, start, end):
        """Bytes of WAL between two places, but for what the server writes by itself."""
        if start == end:
            return 0
        for last in [False] * 20 + [True]:      # what nobody waits for is in the file a little later
            done = subprocess.run(['pg_waldump', '-p', os.path.join(self.data, 'pg_wal'), '-s', start, '-e', end],
                                  capture_output=True, text=True, check=last)
            if done.returncode == 0:
                break
            time.sleep(.5)
        records = [line for line in done.stdout.splitlines() if not line.startswith(('rmgr: XLOG ', 'rmgr: Standby '))]
        for line in records[:10]:
            print('idle WAL:', line)
        return sum(int(line.split('len (rec/tot):')[1].split(',')[0].split('/')[1]) for line in records)

    def worker(self):
        rows = self.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker'")
        return int(rows[0][0]) if rows else None

    def signal_worker(self, number):
        pid = self.worker()
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return pid

    def crash(self):
        """kill -9 of the worker: all sessions go down."""
        self.signal_worker(signal.SIGKILL)

    def immediate(self):
        self.stop('immediate')
        self.start()


class Session:
    """psql on a pipe, statement by statement."""

    def __init__(self, cluster, name):
        self.cluster, self.name, self.process = cluster, name, None

    def connect(self):
        self.close()
        self.process = subprocess.Popen(['psql', '-X', '-q', '-At', '-F', '\x1f', '-d', self.cluster.conninfo(self.name)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.rest = b''
        self.do("SET lock_timeout = '20s'")

    def close(self):
        if self.process:
            self.process.kill()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
            self.process = None

    def do(self, sql):
        """(sqlstate, rows); Lost if the session is gone."""
        if self.process is None:
            self.connect()
        try:
            self.process.stdin.write((sql + ';\n\\echo @@ :SQLSTATE\n').encode())
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            self.close()
            raise Lost()
        rows = []
        while True:
            line = self.line()
            if line.startswith('@@ '):
                return line[3:], rows
            rows.append(line.split('\x1f'))

    def line(self):
        while b'\n' not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], 90)
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b''
            if not data:
                self.close()
                raise Lost()
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode()
