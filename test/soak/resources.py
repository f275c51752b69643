"""What the worker uses while it runs."""
import os
import re
import statistics
import threading
import time

SAMPLE = """SELECT (SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker' LIMIT 1),
    (SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'),
    (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE schemaname = 'jacksync'),
    (SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_stat_user_tables WHERE schemaname = 'jacksync')"""


CONTEXTS = r'\[%s\].*Grand total: (\d+) bytes in \d+ blocks; \d+ free \(\d+ chunks\); (\d+) used'


class Sampler(threading.Thread):
    def __init__(self, cluster, every):
        super().__init__(daemon=True)
        self.cluster, self.every = cluster, every
        self.samples = []               # (time, pid, RSS in kB, fds, xmin age, dead tuples, bytes)
        self.contexts = []              # (pid, all, used), of its memory contexts, in bytes
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.every):
            try:
                pid, age, dead, size = self.cluster.query(SAMPLE)[0]
                if pid:
                    status = open('/proc/%s/status' % pid).read()
                    rss = int(status.split('RssAnon:')[1].split()[0])
                    self.samples.append((time.time(), pid, rss, len(os.listdir('/proc/%s/fd' % pid)), int(age), int(dead), int(size)))
                    if len(self.samples) % 10 == 0:
                        self.look_inside(pid)
            except (OSError, RuntimeError, IndexError):
                pass

    def look_inside(self, pid):
        """What PostgreSQL knows of the worker's memory: it writes that into the log."""
        place = os.path.getsize(self.cluster.log)
        self.cluster.query('SELECT pg_log_backend_memory_contexts(%s)' % pid)
        self.over.wait(1)
        with open(self.cluster.log, errors='replace') as log:
            log.seek(place)
            found = re.search(CONTEXTS % pid, log.read())
        if found:
            self.contexts.append((pid, int(found.group(1)), int(found.group(2))))

    def report(self):
        """Of the worker that lived longest; without its first third, in which caches fill."""
        if not self.samples:
            return 'no samples'
        lives = {}
        for sample in self.samples:
            lives.setdefault(sample[1], []).append(sample)
        life = max(lives.values(), key=lambda samples: samples[-1][0] - samples[0][0])
        life = life[len(life) // 3:]
        times = [s[0] - life[0][0] for s in life]
        mean_t, mean_r = sum(times) / len(life), sum(s[2] for s in life) / len(life)
        spread = sum((t - mean_t) ** 2 for t in times)
        slope = sum((t - mean_t) * (s[2] - mean_r) for t, s in zip(times, life)) / spread if spread else 0
        # growth that levels off is seen in the quarters, where a slope is not
        quarters = [life[len(life) * i // 4:len(life) * (i + 1) // 4] for i in range(4)]
        inside = [c for c in self.contexts if c[0] == life[0][1]]
        return ('worker, over %d s: private memory %.1f to %.1f MB (%+.2f MB/h; median of each quarter %s), %d to %d file descriptors; '
                'oldest snapshot %d transactions; dead rows at most %d, %.1f MB of tables\n'
                'memory contexts of its whole life, MB (used): %s'
                % (times[-1], life[0][2] / 1024, life[-1][2] / 1024, slope * 3600 / 1024,
                   ' '.join('%.2f' % (statistics.median(s[2] for s in q) / 1024) for q in quarters if q),
                   min(s[3] for s in life), max(s[3] for s in life),
                   max(s[4] for s in self.samples), max(s[5] for s in self.samples), self.samples[-1][6] / 1048576,
                   ' '.join('%.1f (%.1f)' % (c[1] / 1048576, c[2] / 1048576) for c in inside)))
