"""The parts of the HTML page, in its order. Each is a pure function from a recording and its judgement to values."""
