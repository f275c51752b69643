#!/usr/bin/python3
"""latency.py EDITS REQUESTS: how long each edit took to the PMS."""
import json
import re
import sys

arrived = {}
for request in json.load(open(sys.argv[2])):
    match = re.search(r'edit (\d+)', request['body'])
    if match and request['method'] == 'PATCH':
        arrived.setdefault(int(match.group(1)), request['time'])
took = []
lost = 0
for line in open(sys.argv[1]):
    n, at = line.split()
    if int(n) in arrived:
        took.append((arrived[int(n)] - float(at)) * 1000)
    else:
        lost += 1
took.sort()
print('%d edits: median %.1f ms, p90 %.1f ms, p99 %.1f ms, longest %.1f ms; %d did not arrive' % (
    len(took), took[len(took) // 2], took[len(took) * 9 // 10], took[len(took) * 99 // 100], took[-1], lost))
