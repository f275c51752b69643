"""What the worker uses while it runs."""
import os
import threading
import time

SAMPLE = """SELECT (SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker' LIMIT 1),
    (SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'),
    (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE schemaname = 'jacksync'),
    (SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_stat_user_tables WHERE schemaname = 'jacksync')"""


class Sampler(threading.Thread):
    def __init__(self, cluster, every):
        super().__init__(daemon=True)
        self.cluster, self.every = cluster, every
        self.samples = []               # (time, pid, RSS in kB, fds, xmin age, dead tuples, bytes)
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.every):
            try:
                pid, age, dead, size = self.cluster.query(SAMPLE)[0]
                if pid:
                    status = open('/proc/%s/status' % pid).read()
                    rss = int(status.split('RssAnon:')[1].split()[0])
                    self.samples.append((time.time(), pid, rss, len(os.listdir('/proc/%s/fd' % pid)), int(age), int(dead), int(size)))
            except (OSError, RuntimeError, IndexError):
                pass

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
        return ('worker, over %d s: private memory %.1f to %.1f MB (%+.2f MB/h), %d to %d file descriptors; '
                'oldest snapshot %d transactions; dead rows at most %d, %.1f MB of tables'
                % (times[-1], life[0][2] / 1024, life[-1][2] / 1024, slope * 3600 / 1024, min(s[3] for s in life), max(s[3] for s in life),
                   max(s[4] for s in self.samples), max(s[5] for s in self.samples), self.samples[-1][6] / 1048576))
