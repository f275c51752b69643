#!/usr/bin/python3
"""Bugs, planted one at a time: does the ledger catch them, and how soon?

    mutants.py SOURCE [NAME ...]    (see test/bin/mutants.sh)

SOURCE is a built copy of the tree that may be spoilt.  Every mutant is a few
replacements; one that does not match any more fails, so that the list stays
true to the source.  Prints a table; exits with 1 if one is not caught.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

RUNS, SECONDS = 6, 15

# name, what is wrong, options of the ledger, [(file, pattern, replacement)]
MUTANTS = [
    ('if-match', 'writes are sent without If-Match', ['--tier', 'A'],
     [('src/sending.c', r'if \(intent->if_match != NULL &&', 'if (false \\&\\& intent->if_match != NULL \\&\\&')]),
    ('watermark', 'the watermark is our clock at the end of the walk', ['--lookback', '0 s'],
     [('src/complete.c', r'(cycle->pulled_upto_known = )walk != NULL &&\s+js_walk_watermark\(walk, cycle->stream, &cycle->pulled_upto\);',
       r'\1true;\n\tcycle->pulled_upto = GetCurrentTimestamp();')]),
    ('greater', 'changes are asked for behind the latest time that was seen', ['--lookback', '0 s', '--coarse', '--gentle'],
     [('src/walk.c', r'from = stream->watermark - Max\(stream->lookback, js_time_grain\(stream\)\)',
       'from = stream->watermark + js_time_grain(stream)'),
      ('src/walk.c', r'Min\(walk->max_seen, limit\)', 'walk->max_seen')]),
    ('r1', 'R1: a record is applied while its push is open', [],
     [('src/apply.c', r'if \(link->intent_id != 0\)\n', 'if (false)\n')]),
    ('r2', 'R2: a page that was asked for before our push is believed', [],
     [('src/apply.c', r'if \(apply->tick != 0 && link->finalized_tick > apply->tick\)', 'if (false)')]),
    ('r5', 'R5: what was refused as outdated is claimed again unread', ['--tier', 'A'],
     [('src/outcome.c', r'(PMS has a newer version".*?)link->must_pull = true;', r'\1')]),
    ('unflushed', 'the claim is not on disk when it is sent', [],
     [('src/push.c', r'"synchronous_commit", "on"', '"synchronous_commit", "off"')]),
    ('forgotten', 'claims of a worker that died are not looked up', [],
     [('src/push.c', r"i\.state IN \('claimed', 'unknown'\)", "i.state IN ('unknown')")]),
    ('resent', 'a push without an answer is sent again, unseen', [],
     [('src/lookup.c', r'(\tcycle->remote = NULL;\n)(\tif \(intent->external_id == NULL\))',
       r'\1\t{\n\t\tJsApply\t\tapply = {0};\n\n\t\tjs_outbound_begin(cycle, \\&apply, "mutant");\n\t\tjs_push_not_sent(\\&apply, intent);\n'
       r'\t\tjs_outbound_end(cycle, \\&apply);\n\t\tjs_outbound_go_on(cycle);\n\t\treturn;\n\t}\n\2')]),
    ('cursor', 'changes are consumed by their time, not by presence', [],
     [('src/foldlog.c', r'(JS_CHANGE_ENTITY\]\) !=\s+entity->entity_id)\)',
       r'\1 ||\n\t\t\tDatumGetTimestampTz(slot->tts_values[JS_CHANGE_AT]) < GetCurrentTimestamp() - USECS_PER_SEC)')]),
    ('fold', 'changes are deleted, and the transaction that marks their records may not come', [],
     [('src/fold.c', r'(\t changes = changes->next\)\n)\t\tmark_record', r'\1\t\tif (changes->at % 5 != 0)\n\t\t\tmark_record')]),
    ('text', 'values are compared as they are written', [],
     [('src/fieldstate.c', r'js_value_equal\(column, js_field_pms\(column, state\),\s+js_field_base\(column, state\)\)', 'false')]),
    ('local-base', 'there is one base only', [],
     [('src/fieldstate.c', r'state->local_base = state->local_base_known \?', 'state->local_base = false ?')]),
    ('truncate', 'TRUNCATE is not refused', [],
     [('src/capture.c', r'(jacksync_refuse_truncate\(PG_FUNCTION_ARGS\)\n\{\n)', r'\1\treturn PointerGetDatum(NULL);\n')]),
    ('capture', 'every fiftieth change is not captured', [],
     [('src/capture.c', r'(\n\tjs_changelog_add\(entity, op,)', r'\n\tif (GetCurrentTimestamp() % 50 == 0)\n\t\treturn PointerGetDatum(NULL);\1')]),
    ('held', 'what is held for a person is decided all the same', [],
     [('src/fieldstate.c', r'facts\[field - entity->fields\]\.held = true;', '(void) facts;')]),
    ('merge', 'a set goes to the newer side', [],
     [('src/plan.c', r'case JS_MERGE:', 'case (JsStrategy) 99:')]),
    ('loud', 'polls that find nothing write that', [],
     [('src/quiet.c', r'js_live_known\(cycle->stream_id, &stream->stored\) &&', 'false \\&\\&')]),
    ('audit', 'who loses is not written down', [],
     [('src/notes.c', r'if \(decisions\[i\]\.audit\)', 'if (false)')]),
]


def run(*command, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


def spoil(source, changes):
    kept = {}
    for path, pattern, replacement in changes:
        path = os.path.join(source, path)
        text = open(path).read()
        kept.setdefault(path, text)
        text, n = re.subn(pattern, replacement.replace('\\\\&', '&').replace('\\&', '&'), text, count=1, flags=re.S)
        if n == 0:
            return kept, 'does not match: ' + pattern
        open(path, 'w').write(text)
    return kept, None


def build(source, stage):
    made = run('make', '-s', '-C', source, 'with_llvm=no', *filter(None, [os.environ.get('MAKE_WITH')]), 'all')
    if made.returncode:
        return made.stdout[-500:]
    made = run('make', '-s', '-C', source, 'with_llvm=no', 'DESTDIR=' + stage, 'install')
    return made.stdout[-500:] if made.returncode else None


def main():
    source, stage = sys.argv[1], sys.argv[2]
    names = sys.argv[3:]
    failures = 0
    for name, what, options, changes in MUTANTS:
        if names and name not in names:
            continue
        kept, problem = spoil(source, changes)
        problem = problem or build(source, stage)
        caught, began = None, time.time()
        for seed in range(1, RUNS + 1):
            if problem or caught:
                break
            place = tempfile.mkdtemp(prefix='jacksync-mutant.')
            done = run('/usr/bin/python3', os.path.join(source, 'test/soak/ledger.py'), '--seconds', str(SECONDS), '--seed', str(seed),
                       '--place', place, *options)
            shutil.rmtree(place, ignore_errors=True)
            if done.returncode:
                caught = (seed, done.stdout.strip().split('\n')[-1])
        for path, text in kept.items():
            open(path, 'w').write(text)
        if problem or not caught:
            failures += 1
        print('%-11s %-75s %s' % (name, what, 'NOT TRIED: ' + problem if problem else
                                  'run %d, %d s: %s' % (caught[0], time.time() - began, caught[1]) if caught else
                                  'NOT CAUGHT in %d runs' % RUNS), flush=True)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
