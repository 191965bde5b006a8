#!/usr/bin/env bash
# What an operator's scripts do with a ledger: a nightly job that is on record whatever becomes of
# it, and a check in the morning that tells what went wrong. Set RUNLEDGER to the program where it
# is not in the path; the ledger is RUNLEDGER_DIR, else ./ledger.
set -euo pipefail

RUNLEDGER=${RUNLEDGER:-runledger}

# nightly NAME COMMAND...: the job, with its output and exit code kept. Its failure is not the end
# of this script.
nightly() {
    local name=$1
    shift
    "$RUNLEDGER" exec --type "$name" -- "$@" || printf '%s ended with %d\n' "$name" "$?"
}

nightly backup true
nightly import false
"$RUNLEDGER" append event --type deploy --message 'v1.4.2'

printf '\nwhat failed since yesterday:\n'
# 1: nothing did.
"$RUNLEDGER" runs --status failed --since yesterday || [ $? -eq 1 ]

printf '\nwhat clean-up would drop:\n'
"$RUNLEDGER" cleanup --days 30 --dry-run || [ $? -eq 1 ]

# 3 is damage, which is for a person to look at.
"$RUNLEDGER" verify
