"""Who writes, and who breaks things."""
import json
import random
import signal
import threading
import time

from cluster import Lost, Session

SINGLE = ['owned', 'ours', 'latest', 'held']
LEVELS = ['READ COMMITTED'] * 4 + ['REPEATABLE READ', 'SERIALIZABLE']


class Actor(threading.Thread):
    """Does something again and again until it is told to stop."""

    def __init__(self, world, name, seed, pause):
        super().__init__(daemon=True, name=name)
        self.world, self.rnd, self.pause = world, random.Random(seed), pause
        self.n = 0
        self.done = {}

    def token(self):
        self.n += 1
        return '%s.%d' % (self.name, self.n)

    def run(self):
        while not self.world.over.is_set():
            try:
                self.act()
            except Lost:
                time.sleep(.2)
            except RuntimeError as error:
                self.count(str(error).split('\n')[0][:60])
            time.sleep(self.rnd.random() * self.pause)
        self.end()

    def end(self):
        pass

    def count(self, what):
        self.done[what] = self.done.get(what, 0) + 1


class LocalUser(Actor):
    """Somebody at the front desk: transactions of every kind."""

    def __init__(self, world, name, seed, pause):
        super().__init__(world, name, seed, pause)
        self.session = Session(world.cluster, name)

    def end(self):
        self.session.close()

    def some(self, most=1):
        """Ids of rows, few of them often, in order: users do not deadlock each other."""
        return sorted({min(int(self.rnd.paretovariate(.7)), self.world.records) for _ in range(self.rnd.randrange(1, most + 1))})

    def change(self):
        """The SET part of an UPDATE."""
        parts = []
        for field in self.rnd.sample(SINGLE, self.rnd.randrange(0, 3)):
            parts.append("%s = '%s'" % (field, self.token()))
        kind = self.rnd.random()
        if kind < .45 or not parts:
            parts.append("marks = coalesce(marks, '{}') || '{%s}'::text[]" % self.token())
        elif kind < .55:
            parts.append("notes = concat_ws(E'\\n', nullif(notes, ''), '%s')" % self.token())
        elif kind < .6:
            parts.append("marks = marks[2:]")
        elif kind < .65:
            parts.append("rate = %d.%d" % (self.rnd.randrange(10 ** 6), self.rnd.randrange(10)))
        elif kind < .67:
            parts.append("nick = '%s'" % self.token())
        return ', '.join(parts)

    def act(self):
        rnd = self.rnd
        level = rnd.choice(LEVELS)
        kind = rnd.random()
        statements = []
        for rid in self.some(8 if kind < .1 else 2):
            statements.append("UPDATE bookings SET %s WHERE external_id = 'B-%04d'" % (self.change(), rid))
        if kind > .985:
            rid = self.some()[0]
            statements = ["DELETE FROM bookings WHERE external_id = 'B-%04d'" % rid]
            if rnd.random() < .5:
                statements.append("INSERT INTO bookings (external_id, ours, marks) VALUES ('B-%04d', '%s', '{%s}') ON CONFLICT DO NOTHING"
                                  % (rid, self.token(), self.token()))
        elif kind > .98:
            statements = ['TRUNCATE bookings']
        elif kind > .96:
            statements = ["SELECT 1 FROM bookings WHERE external_id = 'B-%04d' FOR UPDATE" % self.some()[0]]
        self.transaction(level, statements, linger=.94 < kind < .97, abort=.1 < kind < .15, savepoint=.15 < kind < .2)

    def transaction(self, level, statements, linger, abort, savepoint):
        do = self.session.do
        try:
            do('BEGIN ISOLATION LEVEL ' + level)
            for statement in statements:
                if savepoint:
                    do('SAVEPOINT s')
                state, _ = do(statement)
                if state == '00000' and statement.startswith('TRUNCATE'):
                    self.count('truncated')
                    do('ROLLBACK')
                if state == '40P01':
                    self.count('deadlock victim')
                if state == '55P03':
                    self.count('waited for a lock for long')
                if state != '00000':
                    self.count('error ' + state)
                    if state == '40001':
                        break
                    if savepoint:
                        do('ROLLBACK TO s')
                elif savepoint and self.rnd.random() < .5:
                    do('ROLLBACK TO s')
            if linger:
                self.world.over.wait(min(self.rnd.expovariate(1), self.world.longest))
            state, _ = do('ROLLBACK' if abort else 'COMMIT')
            self.count('transactions')
        except Lost:
            self.count('lost sessions')
            raise


class HotelUser(Actor):
    """Somebody at the PMS."""

    def act(self):
        rnd, pms = self.rnd, self.world.pms
        rid = 'B-%04d' % min(int(rnd.paretovariate(.7)), self.world.records)
        kind = rnd.random()
        if kind < .01:
            if not pms.deleted(rid):
                pms.delete(rid)
                self.count('deletes')
            return
        if pms.deleted(rid):
            if kind < .5:
                pms.revive(rid, {'owned': self.token(), 'ours': None, 'latest': self.token(), 'held': None,
                                 'marks': [self.token()], 'notes': None, 'price': 1, 'rate': 1, 'nick': None})
            return

        def change(record):
            for field in rnd.sample(SINGLE, rnd.randrange(0, 3)):
                record[field] = self.token()
            if kind < .45:
                record['marks'] = (record['marks'] or []) + [self.token()]
            elif kind < .55:
                record['notes'] = '\n'.join(filter(None, [record['notes'], self.token()]))
            elif kind < .6 and record['marks']:
                record['marks'] = record['marks'][1:]
            elif kind < .75:
                record['price'] = rnd.randrange(100000) / 100
            elif kind < .8:
                record['nick'] = self.token().lower()
            # the same value, written otherwise, is no change
            record['rate'] = '%.3f' % float(record['rate'] or 0) if rnd.random() < .5 else float(record['rate'] or 0)
            if kind > .95:
                record['rate'] = rnd.randrange(10 ** 7) / 10
        if pms.edit(rid, change):
            self.count('edits')


class Webhook(Actor):
    """Brings what was changed at the PMS at once, whatever else is under way."""

    def __init__(self, world, seed, pause):
        super().__init__(world, 'W', seed, pause)
        self.session = Session(world.cluster, 'webhook')

    def end(self):
        self.session.close()

    def act(self):
        self.session.do("SET lock_timeout = '300ms'")
        store = self.world.pms.store
        with store.lock:                # in the order of its versions
            rid = 'B-%04d' % min(int(self.rnd.paretovariate(.7)), self.world.records)
            record = json.dumps([store.records['bookings'][rid]]).replace("'", "''")
            state, _ = self.session.do("SELECT jacksync.apply('bookings', '%s', 'soak_pms')" % record)
        self.count('webhooks' if state == '00000' else 'webhook ' + state)


class Operator(Actor):
    """Decides conflicts, now and then."""

    def act(self):
        choice = self.rnd.choice(['local', 'pms'])
        self.world.cluster.query("SELECT jacksync.resolve_conflict(conflict_id, '%s') FROM jacksync.manual_conflict"
                                 " WHERE status = 'pending' ORDER BY random() LIMIT 1" % choice)
        self.count('decisions')
        time.sleep(.5)


class Breaker(Actor):
    """The network, the PMS, and the machine."""

    def __init__(self, world, seed, pause, violent):
        super().__init__(world, 'breaker', seed, pause)
        self.violent = violent

    def act(self):
        rnd, world = self.rnd, self.world
        kind = rnd.random()
        if kind < .5:
            world.pms.break_it(rnd)
            self.count('faults')
        elif kind < .7:
            world.pms.heal()
        elif kind < .75:
            world.pms.expire()
        elif kind < .85:
            size = rnd.choice([1, 2, 7, 100])
            world.cluster.query("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": %d}'" % size)
        elif not self.violent:
            return
        elif kind < .92:
            world.cluster.signal_worker(signal.SIGTERM)
            self.count('terminated workers')
        elif kind < .94:
            if world.cluster.signal_worker(signal.SIGSTOP):
                time.sleep(1)
                world.cluster.signal_worker(signal.SIGCONT)
                self.count('stopped workers')
        elif kind < .97:
            world.cluster.crash()
            self.count('killed workers')
        else:
            world.cluster.immediate()
            self.count('immediate stops')
        # let the back-off not be all that happens
        if rnd.random() < .5:
            world.cluster.query('SELECT jacksync.sync_now()')
