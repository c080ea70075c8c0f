"""Does for a list of WAL files what PostgreSQL does: runs the command for one after another, and waits for each.

usage: archiver.py push|fetch COMMAND NAMES TIMES

Runs in a data directory. NAMES is a file with one segment name a line; TIMES is written: the milliseconds of each call as
JSON. A push finds the .ready marks that were made before, and turns each into .done, as the archiver of the server does.
A fetch asks for pg_wal/RECOVERYXLOG, as the startup process does, and moves it to ../fetched; nothing is replayed in
between, so what a tool fetches ahead has no time that a server would give it. postmaster.pid names this process meanwhile.
"""
import json, os, sys, time

verb, command, names, times = sys.argv[1:5]
took = []
with open(names) as file:
    wanted = file.read().split()
if verb == 'fetch':
    with open('postmaster.pid', 'w') as file:
        file.write(f'{os.getpid()}\n{os.getcwd()}\n{int(time.time())}\n')
for name in wanted:
    path = f'pg_wal/{name}' if verb == 'push' else 'pg_wal/RECOVERYXLOG'
    started = time.monotonic()
    code = os.system(command.replace('%f', name).replace('%p', path))
    took.append((time.monotonic() - started) * 1000)
    if code != 0:
        sys.exit(f'"{name}": the command ended with wait status {code}')
    if verb == 'push':
        os.rename(f'pg_wal/archive_status/{name}.ready', f'pg_wal/archive_status/{name}.done')
    else:
        os.rename(path, f'../fetched/{name}')
if verb == 'fetch':
    os.unlink('postmaster.pid')
with open(times, 'w') as file:
    json.dump(took, file)
