"""Runs a command and writes its wall and CPU time and the peak memory of its largest process to a file, as JSON.

usage: measure.py OUT COMMAND [ARG ...]

The operating system's own account of the finished process and all its children: Node.js has no way to ask for it.
"""
import json, resource, subprocess, sys, time

started = time.monotonic()
code = subprocess.run(sys.argv[2:]).returncode
wall = time.monotonic() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], 'w') as out:
    json.dump({'wall': wall, 'user': used.ru_utime, 'system': used.ru_stime, 'peakKiB': used.ru_maxrss}, out)
sys.exit(code)
