-- Query 8, monitor new users: who came and opened an auction within the same ten seconds.

INSERT INTO cells
SELECT
  CAST(p.id AS STRING),
  CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', p.window_start) AS BIGINT) * 1000,
  a.num
FROM (
  SELECT id, window_start, window_end
  FROM TABLE(TUMBLE(TABLE persons, DESCRIPTOR(happened), INTERVAL '10' SECOND))
  GROUP BY id, window_start, window_end
) AS p
JOIN (
  SELECT seller, COUNT(*) AS num, window_start, window_end
  FROM TABLE(TUMBLE(TABLE auctions, DESCRIPTOR(happened), INTERVAL '10' SECOND))
  GROUP BY seller, window_start, window_end
) AS a
ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end;
