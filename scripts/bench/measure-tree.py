"""Runs a command and writes what it and all its descendants cost to a file, as JSON.

usage: measure-tree.py [--own-session] OUT COMMAND [ARG ...]

With --own-session the command begins a session, as under cron and systemd.

Wall time ends with the command itself. Processes that it leaves in the background become children of this one (it is
their subreaper), so that their CPU time and memory count too; they get a minute to end, and are killed then.
Memory is the sum over all processes alive at one moment, sampled every 50 ms: of the resident set, in which pages that
processes share count once in each, and every tenth time of the proportional set, in which they count once.
"""
import ctypes, glob, json, os, resource, signal, subprocess, sys, time

INTERVAL = 0.05
LINGER = 60.0
PR_SET_CHILD_SUBREAPER = 36
PAGE_KIB = os.sysconf('SC_PAGE_SIZE') // 1024


def descendants():
    """Process ids below this one, found from parents to children."""
    found, waiting = [], [os.getpid()]
    while waiting:
        for path in glob.glob(f'/proc/{waiting.pop()}/task/*/children'):
            try:
                with open(path) as file:
                    pids = [int(word) for word in file.read().split()]
            except OSError:
                continue  # it has ended
            found += pids
            waiting += pids
    return found


def resident(pids):
    total = 0
    for pid in pids:
        try:
            with open(f'/proc/{pid}/statm') as file:
                total += int(file.read().split()[1]) * PAGE_KIB
        except OSError:
            continue  # it has ended
    return total


def proportional(pids):
    total = 0
    for pid in pids:
        try:
            with open(f'/proc/{pid}/smaps_rollup') as file:
                total += next(int(line.split()[1]) for line in file if line.startswith('Pss:'))
        except (OSError, StopIteration):
            continue  # it has ended
    return total


def wait_for_child(seconds):
    """Returns when a child has ended, at the latest after so long; SIGCHLD is blocked, so none is missed."""
    signal.sigtimedwait({signal.SIGCHLD}, seconds)


def unblock():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def main():
    own_session = sys.argv[1] == '--own-session'
    out, *command = sys.argv[2 if own_session else 1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit('could not become the subreaper of what the command starts')
    # sigtimedwait takes a signal only while it is blocked; what is started must not inherit that.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    rss = pss = samples = processes = 0
    wall = None
    killed = False
    started = time.monotonic()
    child = subprocess.Popen(command, preexec_fn=unblock, start_new_session=own_session)
    while True:
        # Not subprocess's own wait: every child that ends is ours to reap, whichever it is.
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        now = time.monotonic() - started
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            wall = now
        if pid != 0:
            continue
        pids = descendants()
        processes = max(processes, len(pids))
        # Before exec a child is still a copy of this interpreter.
        if now > 0.02:
            rss = max(rss, resident(pids))
            if samples % 10 == 0:
                pss = max(pss, proportional(pids))
            samples += 1
        if wall is not None and now > wall + LINGER:
            killed = True
            for one in pids:
                try:
                    os.kill(one, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        wait_for_child(INTERVAL if now > 0.2 else 0.005)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = {
        'wall': wall,
        'background': time.monotonic() - started - wall,
        'killedInBackground': killed,
        'user': used.ru_utime,
        'system': used.ru_stime,
        'peakRssKiB': rss,
        'peakPssKiB': pss,
        'peakLargestKiB': used.ru_maxrss,
        'peakProcesses': processes,
    }
    with open(out, 'w') as file:
        json.dump(measured, file)
    sys.exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)


main()
