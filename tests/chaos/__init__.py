"""Everything is killed, frozen and cut off while tasks flow, and in the end each of them must be
accounted for.

    python -m tests.chaos --seconds 60 --seed 7

mix, plan            what is submitted and what is done to whom, both out of a seed
ledger               append-only files: what was accepted, executed, disturbed
handlers             what the workers run
units, stage         the daemons and who restarts them, the hosts, the Redis
producers, stranger  who submits, and a worker that is not meshd's own
tormentor            carries out the plan
remains              what lies in Redis when all is quiet
explanation, verdict what follows from all that; table says it
drama                one whole run
mutations            breaks meshd on purpose: each must make the run red
"""
