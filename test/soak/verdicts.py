"""The account: what the trails of both sides, the audit and the end say.

Every value that somebody writes is a token that nobody else writes.  So for
every token the trail of its side says who wrote it, what was there before,
and what became of it; and nothing may be without an explanation.
"""
import json

SINGLE = ['owned', 'ours', 'latest', 'held']
SETS = ['marks', 'notes']
# A request that was given up as lost, and sent again after a look: where there is no If-Match it may write over anything.
LATE = 'api, late'
LAWS = ['converged', 'loss', 'resurrection', 'invention', 'twice', 'false conflict', 'authority', 'sets', 'harm']


def elements(record, field):
    value = (record or {}).get(field)
    if value is None:
        return []
    return [e for e in value.split('\n') if e] if isinstance(value, str) else list(value)


def number(value):
    return None if value is None else round(float(value), 2)


def capitals(value):
    return value.upper() if value else value


def same(record):
    """What does not depend on how a number is written."""
    return {**record, 'updatedAt': 0, 'rate': number(record.get('rate')), 'price': number(record.get('price'))}


class Account:
    def __init__(self, trail, versions, audit, conflicts, in_vain):
        """trail: [(who, op, before, after)]; versions: id -> [(cause, record)];
        audit: [(id, field, details)]; conflicts: the same, and whether pending;
        in_vain: tokens whose push had no answer, and which were not found at a PMS
        that knows no keys: somebody may have written over them since, who saw them."""
        self.in_vain = in_vain
        self.findings = []
        self.here = {}
        for who, op, before, after in trail:
            rid = (after or before).get('external_id') or (before or {}).get('external_id')
            if rid:
                self.here.setdefault(rid, []).append((who.startswith('L'), op, before, after))
        self.there = versions
        self.known = {}                 # (id, field) -> [(base, local, pms)]
        self.pending = set()
        for rid, field, details in audit:
            if field:
                self.known.setdefault((rid, field), []).append(
                    (details.get('baseValue'), details.get('localValue'), details.get('pmsValue'), details.get('resolution')))
        for rid, field, base, local, pms, pending in conflicts:
            self.known.setdefault((rid, field), []).append((base, local, pms, 'held'))
            if pending:
                self.pending.add((rid, field))

    def find(self, law, *words):
        self.findings.append((law, ' '.join(map(str, words))))

    def run(self, rows, status):
        """rows: id -> row as it is now; status: id -> sync_status."""
        for rid in self.there:
            self.converged(rid, rows.get(rid), status.get(rid))
            for field in SINGLE:
                self.lost_here(rid, field)
                self.back_here(rid, field)
                if field == 'ours':
                    continue            # it is for us to say, again and again
                self.lost_there(rid, field)
                self.back_there(rid, field)
                self.concurrent(rid, field)
            for field in SETS:
                self.set_here(rid, field, rows.get(rid))
                self.set_there(rid, field)
            self.rates(rid)
            self.authority(rid)
            self.invented(rid, rows.get(rid))
        return self.findings

    # -- 1: both sides are the same, or a person is asked -------------------
    def converged(self, rid, row, status):
        record = self.there[rid][-1][1]
        if record.get('deleted'):
            if row is not None and not self.made_anew(rid):
                self.find('converged', rid, 'is deleted at the PMS and not here')
            return
        if row is None:
            if status != 'deleted here':
                self.find('converged', rid, 'is not here')
            return
        if status not in ('synced', 'conflict'):
            self.find('converged', rid, 'is', status)
        for field in SINGLE:
            if row[field] != record.get(field) and (rid, field) not in self.pending:
                self.find('converged', rid, field, 'here', row[field], 'there', record.get(field))
        for field in SETS:
            if sorted(elements(row, field)) != sorted(elements(record, field)):
                self.find('converged', rid, field, 'here', elements(row, field), 'there', elements(record, field))
        for field in ('price', 'rate'):
            if number(row[field]) != number(record.get(field)) and (rid, field) not in self.pending:
                self.find('converged', rid, field, 'here', row[field], 'there', record.get(field))
        if capitals(row['nick']) != capitals(record.get('nick')):
            self.find('converged', rid, 'nick here', row['nick'], 'there', record.get('nick'))

    def made_anew(self, rid):
        """Did a user insert a row for a record whose row we had deleted?  It is none of the PMS's then."""
        events = [(user, op) for user, op, before, after in self.here.get(rid, []) if op != 'UPDATE']
        ours = [op for user, op in events if not user]
        return ours[-1:] == ['DELETE'] and events[-1] == (True, 'INSERT')

    # -- 2: what is overwritten was seen, or is in the books ----------------
    def lost_here(self, rid, field):
        """We overwrite what somebody wrote here."""
        written = set()
        for user, op, before, after in self.here.get(rid, []):
            if user:
                written = written | {after[field]} if after else set()
                continue
            if op != 'UPDATE':
                continue
            old = before[field]
            if old is None or old == after[field] or old not in written:
                continue
            if any(old == local for base, local, pms, how in self.known.get((rid, field), [])):
                continue
            if any(record.get(field) == old for cause, record in self.there[rid]):
                continue                # it had reached the PMS, where somebody changed it
            self.find('loss', rid, field, old, 'written here became', after[field], 'without a word')

    def lost_there(self, rid, field):
        """We overwrite what somebody wrote there."""
        seen = set()                    # values that were here, before the user's
        observed = {}                   # token written here -> what had been here before
        for user, op, before, after in self.here.get(rid, []):
            if user and after and (op == 'INSERT' or after[field] != before[field]):
                observed.setdefault(after[field], set()).update(seen)
            if after:
                seen.add(after[field])
        before = None
        written = set()
        for cause, record in self.there[rid]:
            value = record.get(field)
            if cause == 'user':
                written.add(value)
            elif cause == LATE:
                pass
            elif before is not None and value != before and before in written and \
                    before not in observed.get(value, set()) and \
                    not any(before == pms for base, local, pms, how in self.known.get((rid, field), [])):
                self.find('loss', rid, field, before, 'written there became', value, 'without a word')
            before = value

    # -- 3: what is gone does not come back --------------------------------
    def back_here(self, rid, field):
        gone, last = set(), None
        at_pms = {record.get(field) for cause, record in self.there[rid]}
        for user, op, before, after in self.here.get(rid, []):
            if op != 'UPDATE':
                gone, last = set(), None
                continue
            value = after[field]
            if value == before[field]:
                continue
            if value in gone and not user and not (field == 'owned' and value in at_pms):
                self.find('resurrection', rid, field, value, 'is back here')
            if before[field] is not None:
                gone.add(before[field])

    def back_there(self, rid, field):
        gone, last = set(), None
        for cause, record in self.there[rid]:
            if record.get('deleted'):
                gone, last = set(), None
                continue
            value = record.get(field)
            if value != last:
                if value in gone and cause != 'user' and value not in self.in_vain:
                    self.find('resurrection', rid, field, value, 'is back there')
                if last is not None:
                    gone.add(last)
                last = value

    # -- 4: every value is somebody's --------------------------------------
    def invented(self, rid, row):
        record = self.there[rid][-1][1]
        tokens = {v for cause, r in self.there[rid] if cause == 'user' for f in SINGLE + SETS
                  for v in (elements(r, f) if f in SETS else [r.get(f)])}
        tokens |= {v for user, op, b, a in self.here.get(rid, []) if user and a for f in SINGLE + SETS
                   for v in (elements(a, f) if f in SETS else [a[f]])}
        for side in (record, row):
            for field in SINGLE + SETS:
                for value in elements(side, field) if field in SETS else [(side or {}).get(field)]:
                    if value is not None and value not in tokens:
                        self.find('invention', rid, field, value)

    # -- 6: a conflict is between values that had not seen each other -------
    def concurrent(self, rid, field):
        late = {record.get(field) for cause, record in self.there[rid] if cause == LATE}
        there, first = [], {}           # values in their order, and who wrote them
        for cause, record in self.there[rid]:
            value = record.get(field)
            if value is not None and value not in first:
                first[value] = (len(there), cause)
                there.append(value)
        here, mine = [], {}
        for user, op, before, after in self.here.get(rid, []):
            value = (after or {}).get(field)
            if value is not None and value not in mine:
                mine[value] = (len(here), user)
                here.append(value)
        for base, local, pms, how in self.known.get((rid, field), []):
            if local is None or pms is None or pms == base or local == pms or local in self.in_vain or pms in late:
                continue
            if local in mine and not mine[local][1] or pms in first and first[pms][1] != 'user':
                self.find('false conflict', rid, field, 'base', base, 'here', local, 'there', pms, how, ': one of them is our own write')
            elif local in first and pms in first and first[local][0] < first[pms][0]:
                self.find('false conflict', rid, field, pms, 'was written over', local, 'there')
            elif pms in mine and local in mine and mine[pms][0] < mine[local][0]:
                self.find('false conflict', rid, field, local, 'was written over', pms, 'here')

    def rates(self, rid):
        """The same number in another form is nobody's change; unless it had
        been another one in between, which a conflict that is held has seen."""
        there = []
        for cause, record in self.there[rid]:
            if not there or there[-1] != number(record.get('rate')):
                there.append(number(record.get('rate')))
        for base, local, pms, how in self.known.get((rid, 'rate'), []):
            if base is not None and pms is not None and number(base) == number(pms) and there.count(number(base)) < 2:
                self.find('false conflict', rid, 'rate', 'base', base, 'there', pms, how, 'of', there)

    # -- 7: nobody writes what is the other's -------------------------------
    def authority(self, rid):
        before = None
        for cause, record in self.there[rid]:
            if cause != 'user' and before is not None:
                for field in ('owned', 'price'):
                    if before.get(field) != record.get(field):
                        self.find('authority', rid, field, 'was written at the PMS')
                if same(before) == same(record):
                    if cause == LATE:
                        continue
                    self.find('twice', rid, cause, 'a push that changes nothing')
                elif before.get('nick') != record.get('nick') and capitals(before.get('nick')) == capitals(record.get('nick')):
                    self.find('twice', rid, record.get('nick'), 'is the echo of', before.get('nick'))
            before = record
        for user, op, before, after in self.here.get(rid, []):
            if not user and op == 'UPDATE' and before['ours'] is not None and before['ours'] != after['ours']:
                # unless a person said so: what a lost answer left in doubt is held
                if not any(how == 'held' and pms == after['ours'] for _, _, pms, how in self.known.get((rid, 'ours'), [])):
                    self.find('authority', rid, 'ours was written here:', before['ours'], 'became', after['ours'])

    # -- 9: sets: nothing is lost, only the PMS removes ----------------------
    def set_here(self, rid, field, row):
        added, removed = set(), set()   # by users here, in the life of the present row
        for user, op, before, after in self.here.get(rid, []):
            old, new = set(elements(before, field)), set(elements(after, field))
            if op == 'DELETE':
                added, removed = set(), set()
            elif user:
                added |= new - old
                removed |= old - new
        if row is None or self.there[rid][-1][1].get('deleted'):
            return
        dropped = set()
        before = set()
        for cause, record in self.there[rid]:
            now = set(elements(record, field))
            dropped |= before - now
            before = now
        for token in added - removed - dropped - set(elements(row, field)):
            self.find('sets', rid, field, token, 'added here is lost')

    def set_there(self, rid, field):
        before, removed, whole = set(), set(), None
        for cause, record in self.there[rid]:
            now = set(elements(record, field))
            if record.get('deleted') or (whole or {}).get('deleted'):
                removed = set()
            elif cause == 'user':
                removed |= before - now
            elif cause != LATE:
                for token in before - now:
                    self.find('sets', rid, field, token, 'was removed from the PMS')
                for token in (now & removed) - self.in_vain:
                    self.find('resurrection', rid, field, token, 'is back there')
            before, whole = now, record


def rows_of(lines):
    return [[json.loads(cell) if cell else None for cell in line] for line in lines]
