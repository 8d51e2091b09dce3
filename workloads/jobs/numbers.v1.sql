-- Counts numbers that it makes itself, a key at a time: a job with state that needs nothing but Flink.

CREATE TABLE numbers (
  n BIGINT,
  k INT,
  made AS PROCTIME()
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '200',
  'fields.k.min' = '0',
  'fields.k.max' = '9'
);

CREATE TABLE nowhere (k INT, n BIGINT, `count` BIGINT) WITH ('connector' = 'blackhole');

INSERT INTO nowhere
SELECT k, n, COUNT(*) OVER (PARTITION BY k ORDER BY made ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
FROM numbers;
