-- Query 7, highest bid: the bids at the highest price of every ten seconds.

INSERT INTO records
SELECT b.k, b.n, CAST(b.price AS STRING)
FROM bids AS b
JOIN (
  SELECT MAX(price) AS most, window_time AS ended
  FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(happened), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end, window_time
) AS m
ON b.price = m.most AND b.happened BETWEEN m.ended - INTERVAL '10' SECOND AND m.ended;
