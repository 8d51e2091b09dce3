-- Query 12, processing time: how many bids everybody made in each ten seconds of the machine's own clock.

INSERT INTO cells
SELECT
  CAST(bidder AS STRING),
  CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) AS BIGINT) * 1000,
  COUNT(*)
FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(arrived), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end;
