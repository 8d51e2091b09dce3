"""Traffic of a log: numbered records go in, and what comes out of it is read whole, with proof that it is.

    generator processes ─produce─▶ in ─▶ (a job) ─▶ out, win
                                   │        live │ when was each record seen
    observer process ◀─────────────┴─────────────┘ after the drain: every record from the first to the end offset

Reading order: settings.py, keys.py (which record is next), outcomes.py (what an error means), producer.py, traffic.py;
then proof.py (is it whole), topics.py (what is kept), reading.py, live.py, settling.py, observer.py.
"""
