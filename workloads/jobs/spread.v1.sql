-- Every record again, by tasks that are dealt whatever comes next: one reader, and as many workers as the job's parallelism.
-- The edge between them is Flink's `rebalance`, the only kind that can pass a slow task by. It keeps no order. Each record
-- costs its worker a digest of 3 kB that nobody reads, a fraction of a millisecond: who has less of a processor
-- gets through fewer.

INSERT INTO counts
SELECT
  k, n, CAST(NULL AS BIGINT), t, CAST(NULL AS BIGINT),
  CASE WHEN SHA256(REPEAT(CAST(100000 + MOD(n, 100000) AS STRING), 500)) = '' THEN '' ELSE 'v1' END
FROM input /*+ OPTIONS('scan.parallelism' = '1') */;
