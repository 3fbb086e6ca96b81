"""oracle: what must hold after every fault, in one function."""

import subprocess

from space import PROGRAM, environment

# The exit codes of src/cli/args/mod.rs.
DONE, FAILED, USAGE, PIPELINE, IN_USE, DAMAGED, ENVIRONMENT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 75
KILLED, AT_ONCE = -9, 130
FORBIDDEN = ("panicked", "BUG", "HUNG", "stack backtrace")


class Reference:
    """What an undisturbed run of the same command gives."""

    def __init__(self, space):
        ended = space.run(patience=3600)  # How long it takes here is not known yet.
        if ended.code != 0:
            raise SystemExit(f"the undisturbed run fails: {ended}")
        self.digests, self.seconds = ended.digests(), ended.seconds
        self.exported = space.exported()
        self.nodes = sorted(self.digests)
        self.records = len(space.records())
        # The slowest of ten, and the ten seconds that nothing may hang.
        self.patience = 10 + 10 * self.seconds


def has_command(name):
    answer = subprocess.run([PROGRAM, name, "--help"], capture_output=True, env=environment())
    return answer.returncode == 0


def manner(ended, codes, words=()):
    """(f), (g): the exit code, a line that names what is wrong, no word of a bug, no hang."""
    wrong = []
    if codes is not None and ended.code not in codes:
        wrong.append(f"ended with {ended.code} and not {codes}: {ended.err.strip()[-600:]}")
    wrong += [f"said {word!r}: {ended.err.strip()[-600:]}" for word in FORBIDDEN if word in ended.err]
    if ended.code in (FAILED, USAGE, PIPELINE, IN_USE, DAMAGED, ENVIRONMENT):
        lines = [line for line in ended.err.splitlines() if line.startswith("dcpipe: ")]
        if not lines:
            wrong.append(f"ended with {ended.code} without a line of its own: {ended.err.strip()[-300:]!r}")
    wrong += [f"did not say {word!r}: {ended.err.strip()[-600:]}" for word in words if word not in ended.err]
    return wrong


def verified(space, damaged=()):
    """(a): verify finds nothing wrong, or exactly what was damaged."""
    if not space.store.is_dir() or not (space.store / "FORMAT").exists():
        return []
    ended = space.run("verify")
    wrong = manner(ended, {DAMAGED} if damaged else {DONE})
    said = ended.out + ended.err
    return wrong + [f"verify does not name {name}: {said[-600:]}" for name in damaged if name not in said]


def after(space, reference, verify, damaged=(), may_run=(), check_committed=True):
    """What must hold now, whatever happened before; the same command is run again. A list of what does not."""
    wrong = verified(space, damaged) if verify else []
    committed = set() if not check_committed else space.committed() - set(may_run)
    again = space.run(patience=reference.patience)
    wrong += manner(again, {DONE})  # (b)
    if again.code != 0:
        return wrong
    exported = space.exported()
    if exported != reference.exported:  # (c)
        differ = sorted(set(exported.items()) ^ set(reference.exported.items()))
        wrong.append(f"other results than undisturbed: {[path for path, _ in differ][:8]}")
    if again.digests() != reference.digests:  # (c)
        differ = [node for node in reference.nodes if again.digests().get(node) != reference.digests[node]]
        wrong.append(f"other bytes than undisturbed: {differ}")
    for event in again.of("node_started"):  # (d)
        if event["node"] in committed and event["reason"]["kind"] != "evicted":
            wrong.append(f"{event['node']} had a record and ran again, because {event['reason']}")
    if space.tmp():  # (e)
        wrong.append(f"tmp/ holds {space.tmp()}")
    rest = space.run(patience=reference.patience)
    wrong += manner(rest, {DONE})
    if rest.of("node_started"):
        wrong.append(f"the run after that still had work: {rest.ran()}")
    return wrong
