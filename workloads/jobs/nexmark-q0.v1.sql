-- Query 0, pass through: every event, as it came. What reading, writing and committing alone cost.

INSERT INTO records
SELECT k, n, CAST(kind AS STRING) FROM input;
