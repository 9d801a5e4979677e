"""The ledger's goals, measured against queues that people use: `python -m bench ledger [--peers] [--json] [--small]`.

One PostgreSQL and one Valkey for all, durable as in production; a database of its own for each queue; one worker
process at a time. What is compared is measured in turn within each round, in an order drawn anew, and only ratios of
one round are formed. How each queue is tuned says its module in bench/ledger/peers/; what each row means,
bench/README.md.
"""

from bench.ledger.run import main

__all__ = ["main"]
