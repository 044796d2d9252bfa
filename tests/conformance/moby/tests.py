#!/usr/bin/env python3
"""tests.py [-c N] [-t SECONDS] [-k REGEX] SUITE...: runs the tests of suites in pieces of N, an engine for each piece.

SUITE is a package of `integration` (networking, network-bridge ...) or a suite of integration-cli (DockerCLIRunSuite).
A piece that takes longer than SECONDS is ended; its test that ran counts as failed (hung) and the others are run again.
Environment: DHOW, BIN (build.sh), SOURCE, IMAGES (images.sh), RESULTS (a directory),
TOOLS (engine.sh).
Results: RESULTS/SUITE.log (all output) and RESULTS/SUITE.tsv (name, result, seconds; the last one of a name counts)."""
import argparse, hashlib, os, re, shutil, subprocess, sys, time

KIT = os.path.dirname(os.path.abspath(__file__))
env = os.environ
parser = argparse.ArgumentParser()
parser.add_argument("-c", type=int, default=10)
parser.add_argument("-t", type=int, default=160)
parser.add_argument("-k", default="")
parser.add_argument("-x", default="", help="names to leave out")
parser.add_argument("--debian", action="store_true", help="debian:bookworm-slim is Debian")
parser.add_argument("--new", action="store_true", help="leave out those that have a result")
parser.add_argument("suites", nargs="+")
options = parser.parse_args()


def names(suite):
    if suite.startswith("Docker"):
        found = []
        for file in sorted(os.listdir(f"{env['SOURCE']}/integration-cli")):
            if file.endswith("_test.go") and "windows" not in file:
                with open(f"{env['SOURCE']}/integration-cli/{file}") as text:
                    found += re.findall(rf"^func \(s \*{suite}\) (Test\w+)", text.read(), re.M)
        return sorted(set(found) - {"TearDownTest"})
    directory = f"{env['SOURCE']}/integration/{suite.replace('-', '/')}"
    found = []
    for file in sorted(os.listdir(directory)):
        if file.endswith("_test.go") and "windows" not in file:
            with open(f"{directory}/{file}") as text:
                found += re.findall(r"^func (Test\w+)\(", text.read(), re.M)
    return [name for name in found if name != "TestMain"]


def piece(suite, tests, number):
    """Runs them; {name: (result, seconds)}."""
    cli = suite.startswith("Docker")
    work = f"{env['RESULTS']}/w/{os.getpid()}.{number}"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    if cli:
        binary, directory, pattern = "cli.test", "integration-cli", f"^Test{suite}$/^({'|'.join(tests)})$"
    else:
        binary, directory = f"{suite}.test", f"integration/{suite.replace('-', '/')}"
        pattern = f"^({'|'.join(tests)})$"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
               "--propagation", "private", f"{KIT}/engine.sh",
               f"{env['BIN']}/{binary}", "-test.v", f"-test.timeout={options.t}s", "-test.run", pattern]
    environment = {**env, "WORK": work, "DOCKER_BUILDKIT": env.get("DOCKER_BUILDKIT", "0")}
    if options.debian:
        environment["DEBIAN"] = "1"
    results, running, rest = {}, {}, []
    log = open(f"{env['RESULTS']}/{suite}.log", "a")
    log.write(f"##### {time.strftime('%H:%M:%S')} {' '.join(tests)}\n")
    process = subprocess.Popen(command, cwd=f"{env['SOURCE']}/{directory}", env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for raw in process.stdout:
        line = raw.decode(errors="replace")
        log.write(line)
        depth = rf"^\s*(?:---|===) (\w+)\s*:?\s+{f'Test{suite}/' if cli else ''}(Test\w+)(?: \(([\d.]+)s\))?\s*$"
        match = re.match(depth, line)
        if not match:
            continue
        what, name, seconds = match.groups()
        if name not in tests:
            continue
        if what == "RUN":
            running[name] = True
        elif what in ("PASS", "FAIL", "SKIP"):
            running.pop(name, None)
            results[name] = (what, seconds or "")
    code = process.wait()
    log.write(f"##### ended: {code}\n")
    # A suite tells how its tests went only when all have: of one that was ended only the last is known to have hung,
    # and that only if it was alone. The others are run again, in smaller pieces.
    if len(tests) == 1 and not results:
        results = {name: ("FAIL", "hung") for name in running}
    for name in ("daemon.log",):
        if os.path.exists(f"{work}/{name}"):
            with open(f"{work}/{name}", errors="replace") as file:
                text = file.read()
            if text.strip():
                log.write(f"##### {name}\n{text[-4000:]}\n")
    log.close()
    cgroups(work)
    shutil.rmtree(work, ignore_errors=True)
    return results


def cgroups(work):
    """Removes the cgroups of the engines of a piece, which ended with their namespaces (dhow-HASH of the root's path)."""
    roots = [f"{work}/root"]
    if os.path.exists(f"{work}/roots"):
        with open(f"{work}/roots") as file:
            roots += file.read().split()
    for root in set(roots):
        name = "dhow-" + hashlib.sha256(root.encode()).hexdigest()[:8]
        for top in ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{one}" for one in os.listdir("/sys/fs/cgroup")]:
            for path, _, _ in os.walk(f"{top}/{name}", topdown=False):
                try:
                    os.rmdir(path)
                except OSError as error:
                    print(f"{path}: {error}")


os.makedirs(f"{env['RESULTS']}/w", exist_ok=True)
number = 0
for suite in options.suites:
    table = f"{env['RESULTS']}/{suite}.tsv"
    wanted = [name for name in names(suite) if re.search(options.k, name)]
    if options.x:
        wanted = [name for name in wanted if not re.search(options.x, name)]
    if options.new and os.path.exists(table):
        done = {line.split("\t")[0] for line in open(table)}
        wanted = [name for name in wanted if name not in done]
    size = options.c
    while wanted:
        number += 1
        tests = wanted[:size]
        began = time.time()
        results = piece(suite, tests, number)
        with open(table, "a") as file:
            for name in tests:
                if name in results:
                    file.write("\t".join((name,) + results[name]) + "\n")
        missing = [name for name in tests if name not in results]
        size = max(1, size // 3) if missing and time.time() - began >= options.t else options.c
        if missing and not results and time.time() - began < options.t:
            with open(table, "a") as file:
                # Nothing came of them: not compiled for this system, or no engine.
                for name in missing:
                    file.write(f"{name}\tNONE\t\n")
            missing = []
        wanted = missing + wanted[len(tests):]
        text = " ".join(f"{name}={what}" for name, (what, _) in results.items() if what != "PASS")
        print(f"{time.strftime('%H:%M:%S')} {suite}: {len(results)} in {time.time() - began:.0f}s, {len(wanted)} left: {text}", flush=True)
